/* On every page: small repairs to what the theme leaves out. */
// From a file no page may read another one, so a search shows titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

document.addEventListener("DOMContentLoaded", () => {
  // The arrows that open a part of the contents have no name.
  for (const arrow of document.querySelectorAll("details > summary")) {
    if (!arrow.textContent.trim() && !arrow.hasAttribute("aria-label")) {
      const link = arrow.closest("li")?.querySelector("a");
      arrow.setAttribute("aria-label", `Pages of ${link ? link.textContent.trim() : "this part"}`);
    }
  }
});
