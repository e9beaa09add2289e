/* How the search ranks and reads: chapters before the package's pages, and words by other spellings.
   Sphinx puts this file before its own search tools, which take up both names. */
var Scorer = {
  // result: [page, title, anchor, description, score, file]
  score: ([page, , , , score]) =>
    score + (page.startsWith("notebooks/") ? 12 : page.startsWith("book/api") ? -12 : 6),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 5, 1: 0, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};

// What readers type, and the words that the pages have for it.
const SAME_AS = {
  overfitting: ["over", "fitting"], overfit: ["over", "fit"], overfitted: ["over", "fit"],
  "3d": ["volume"], "2d": ["slice"], jaccard: ["iou"], installation: ["install"],
  setup: ["install"], hausdorff: ["hd95"], dsc: ["dice"], licence: ["license"],
};
var splitQuery = (query) => query
  .split(/[^\p{Letter}\p{Number}_\p{Emoji_Presentation}]+/gu)
  .filter(Boolean)
  .flatMap((word) => SAME_AS[word.toLowerCase()] || [word]);
