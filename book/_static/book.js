/* On every page: small repairs to what the theme leaves out. */
// From a file no page may read another one, so a search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// What scrolls sideways must be within the keyboard's reach.
function reachable() {
  for (const box of document.querySelectorAll(".bd-article :is(table, pre, .math)")) {
    if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) box.tabIndex = 0;
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);

document.addEventListener("DOMContentLoaded", () => {
  // The references are called a list, and hold what a list may not.
  for (const part of document.querySelectorAll(".citation-list, .citation-list > [role]")) {
    part.removeAttribute("role");
  }
  // The arrows that open a part of the contents have no name.
  for (const arrow of document.querySelectorAll("details > summary")) {
    if (!arrow.textContent.trim() && !arrow.hasAttribute("aria-label")) {
      const link = arrow.closest("li")?.querySelector("a");
      arrow.setAttribute("aria-label", `Pages of ${link ? link.textContent.trim() : "this part"}`);
    }
  }
});

// A figure opens at its full size, to be scrolled and enlarged: many panels are small on a phone.
document.addEventListener("DOMContentLoaded", () => {
  const elsewhere = "a, button, summary, label, .kenseg-viewer, .kenseg-try, .widget-subarea";
  const figures = [...document.querySelectorAll(".bd-article :is(.cell_output, figure) img")]
    .filter((image) => !image.closest(elsewhere));
  if (!figures.length || typeof HTMLDialogElement !== "function") return;
  const style = document.createElement("style");
  style.textContent = `
    .kenseg-enlarge { display: inline; padding: 0; border: 0; background: none; font: inherit;
      color: inherit; text-align: inherit; cursor: zoom-in; }
    .kenseg-enlarge:focus-visible img { outline: 3px solid var(--pst-color-primary, #00f); outline-offset: 2px; }
    .kenseg-lightbox { width: 97vw; height: 95vh; max-width: none; max-height: none; padding: 0;
      border: 1px solid #767676; background: var(--pst-color-background, #fff);
      color: var(--pst-color-text-base, #000); overflow: hidden; }
    .kenseg-lightbox[open] { display: flex; flex-direction: column; }
    .kenseg-lightbox::backdrop { background: rgb(0 0 0 / 70%); }
    .kenseg-lightbox p { display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0; padding: 0.4rem; }
    .kenseg-lightbox button { min-height: 2.4rem; padding: 0 0.8rem; border: 1px solid #767676;
      border-radius: 0.25rem; background: transparent; color: inherit; font: inherit; }
    .kenseg-lightbox button:disabled { opacity: 0.5; }
    .kenseg-lightbox :focus-visible { outline: 3px solid var(--pst-color-primary, #00f); outline-offset: -3px; }
    .kenseg-lightbox div { flex: 1; overflow: auto; overscroll-behavior: contain; display: grid; }
    .kenseg-lightbox img { max-width: none; height: auto; margin: auto; background: #fff; }
    @media (prefers-reduced-motion: no-preference) {
      .kenseg-lightbox[open] { animation: kenseg-open 0.15s; }
      @keyframes kenseg-open { from { opacity: 0; } }
    }`;
  document.head.append(style);

  const dialog = document.createElement("dialog");
  dialog.className = "kenseg-lightbox";
  dialog.setAttribute("aria-label", "The figure, enlarged");
  dialog.innerHTML = `<p><button type="button" autofocus>Close</button>
    <button type="button">Smaller</button><button type="button">Larger</button></p>
    <div tabindex="0" role="group" aria-label="The figure: arrow keys scroll it"><img alt=""></div>`;
  document.body.append(dialog);
  const [close, smaller, larger] = dialog.querySelectorAll("button");
  const box = dialog.querySelector("div"), large = dialog.querySelector("img");
  const LEAST = 0.25, MOST = 4;
  let opener = null, zoom = 1, wide = 1;

  // What lies in the middle of the box stays there.
  const enlarge = (factor) => {
    const middle = (box.scrollLeft + box.clientWidth / 2) / box.scrollWidth;
    const level = (box.scrollTop + box.clientHeight / 2) / box.scrollHeight;
    zoom = Math.min(MOST, Math.max(LEAST, zoom * factor));
    large.style.width = `${Math.round(zoom * wide)}px`;
    box.scrollLeft = middle * box.scrollWidth - box.clientWidth / 2;
    box.scrollTop = level * box.scrollHeight - box.clientHeight / 2;
    smaller.disabled = zoom <= LEAST;
    larger.disabled = zoom >= MOST;
  };
  const open = (button) => {
    const image = button.querySelector("img");
    opener = button;
    large.src = image.currentSrc || image.src;
    large.alt = image.alt;
    wide = image.naturalWidth || image.width;
    const high = image.naturalHeight || image.height;
    dialog.showModal();
    // Full size at least; where there is room, as large as the window.
    zoom = Math.min(2, Math.max(1, Math.min(box.clientWidth / wide, box.clientHeight / high)));
    enlarge(1);
    box.scrollLeft = box.scrollTop = 0;
  };
  close.addEventListener("click", () => dialog.close());
  smaller.addEventListener("click", () => enlarge(1 / 1.5));
  larger.addEventListener("click", () => enlarge(1.5));
  dialog.addEventListener("click", ({ target, offsetX, offsetY }) => {
    const scrollbar = target === box && (offsetX > box.clientWidth || offsetY > box.clientHeight);
    if ((target === dialog || target === box) && !scrollbar) dialog.close();
  });
  dialog.addEventListener("close", () => opener?.focus());

  for (const image of figures) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "kenseg-enlarge";
    button.title = "Enlarge this figure";
    button.setAttribute("aria-haspopup", "dialog");
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => open(button));
  }
});
