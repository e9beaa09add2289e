/* The viewers of a page: a slider or a button chooses which of the drawn pictures is seen. */
document.addEventListener("DOMContentLoaded", () => {
  const show = (chooser, place) => {
    for (const stack of document.querySelectorAll(`[data-shows="${chooser}"]`)) {
      [...stack.children].forEach((page, number) => { page.hidden = number !== place; });
    }
  };

  for (const slider of document.querySelectorAll(".kenseg-viewer input[type=range]")) {
    const labels = slider.dataset.labels.split("\n");
    slider.addEventListener("input", () => {
      const label = labels[slider.valueAsNumber];
      slider.setAttribute("aria-valuetext", label);
      slider.parentElement.querySelector("output").textContent = label;
      show(slider.id, slider.valueAsNumber);
    });
  }

  for (const button of document.querySelectorAll("button.kenseg-play[data-plays]")) {
    const slider = document.getElementById(button.dataset.plays);
    let timer = null;
    const playing = (on) => {
      clearInterval(timer);
      timer = on ? setInterval(step, Number(button.dataset.interval)) : null;
      button.textContent = on ? "Pause" : "Play";
      button.setAttribute("aria-pressed", String(on));
    };
    const step = () => {
      slider.value = slider.valueAsNumber === Number(slider.max) ? 0 : slider.valueAsNumber + 1;
      slider.dispatchEvent(new Event("input"));
    };
    button.addEventListener("click", () => playing(!timer));
    slider.addEventListener("pointerdown", () => playing(false));
  }

  for (const group of document.querySelectorAll(".kenseg-buttons")) {
    const buttons = [...group.querySelectorAll("button")];
    buttons.forEach((button, place) => button.addEventListener("click", () => {
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      show(group.id, place);
    }));
  }
});
