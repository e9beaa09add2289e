/* Loaded, on pages with widgets, before require.js and the widget manager. */
(() => {
  // The widget manager looks for its icon font beside its modules: say where those lie (in
  // vendor/ beside this script, or at data-manager, for a manager that comes from elsewhere).
  const script = document.currentScript;
  const manager = (script.dataset.manager || new URL("vendor", script.src).href).replace(/\/$/, "");
  window.require = {
    paths: { "@jupyter-widgets": manager, "@jupyter-widgets/html-manager/dist": manager },
  };
  // The theme's Font Awesome turns <i> into <svg> as it appears; the play button needs its <i>.
  window.FontAwesomeConfig = { observeMutations: false };

  // The widget manager speaks to MathJax 2: let MathJax 3 answer.
  function answerForMathJax2() {
    if (window.MathJax) {
      window.MathJax.Hub = {
        Queue: ([, , element]) => window.MathJax.typesetPromise?.([element]),
      };
    }
  }

  // Names that the widgets lack, for those who hear the page instead of seeing it.
  function nameControls() {
    for (const handle of document.querySelectorAll(".widget-slider .noUi-handle")) {
      const slider = handle.closest(".widget-slider");
      const name = slider.querySelector(".widget-label")?.textContent;
      const value = slider.querySelector(".widget-readout")?.textContent;
      if (name && handle.getAttribute("aria-label") !== name) {
        handle.setAttribute("aria-label", name);
      }
      if (value && handle.getAttribute("aria-valuetext") !== value) {
        handle.setAttribute("aria-valuetext", value);
      }
    }
    for (const player of document.querySelectorAll(".widget-play")) {
      player.querySelectorAll("button").forEach((button, place) => {
        if (!button.hasAttribute("aria-label")) {
          button.setAttribute("aria-label", ["Play or pause", "Stop", "Repeat"][place]);
        }
      });
    }
  }

  // Which of several buttons is pressed is told by colour alone.
  function tellPressed() {
    for (const button of document.querySelectorAll(".widget-toggle-button")) {
      const pressed = String(button.classList.contains("mod-active"));
      if (button.getAttribute("aria-pressed") !== pressed) {
        button.setAttribute("aria-pressed", pressed);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    answerForMathJax2();
    new MutationObserver(() => { nameControls(); tellPressed(); }).observe(document.body, {
      attributeFilter: ["aria-valuetext", "class"], childList: true, subtree: true,
    });
  });
})();
