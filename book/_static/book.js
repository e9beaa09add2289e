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
