"""No sentence of a chapter contradicts a recorded number: those it names are computed from it.

Two ways in which a page can contradict what is recorded, and both are looked for in the committed
notebooks: a sentence that the recorded runs refute (`REFUTED`, each with the numbers that do), and
a recorded number that somebody typed, which stays as it is when the record changes.
"""

import html
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass

import pandas as pd
import pytest
from conftest import NOTEBOOKS, ROOT, shown

from kenseg_utils import experiments, figures
from kenseg_utils.evaluation import statistics
from kenseg_utils.experiments import lineup

# Which recorded result a chapter speaks of. Each must be opened by its own code.
SPEAKS_OF = {"05": "paper_scale"}
COMPUTED = ["05"]  # whose recorded numbers must all be computed; 09 has its own test (test_pairs)
CLAIMS = ROOT / "book/claims.md"


def chapter(number):
    path = next(path for path in NOTEBOOKS if path.stem.startswith(number))
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def prose(cells):
    """All that a reader is told: markdown, and the texts in code."""
    return "\n".join("".join(cell["source"]) for cell in cells)


def markdown(cells):
    return prose(cell for cell in cells if cell["cell_type"] == "markdown")


def code(cells):
    return prose(cell for cell in cells if cell["cell_type"] == "code")


def squeezed(text):
    """Lower case, without the quotes and breaks that part a text in code."""
    return re.sub(r"[\s\"']+", " ", text.lower().replace("**", ""))


@pytest.fixture(scope="module")
def tables():
    return experiments.open_result("paper_scale", ROOT / "results").tables


# --- Sentences that the record refutes -----------------------------------------------------------


def of_run(tables, name):
    """The epochs of a run of seed 0, and its row."""
    history, runs = (
        table[table["run"].eq(name) & table["seed"].eq(0)]
        for table in (tables["history"], tables["runs"])
    )
    return history.set_index("epoch"), runs.iloc[0]


def learns_within_thousands_of_steps(tables):
    epochs, _ = of_run(tables, "paper")
    best = epochs["val_dice"].idxmax()
    return epochs["val_dice"][best] > 0.4 and epochs["steps"][best] < 100_000


def moves_enough_to_learn(tables):
    epochs, _ = of_run(tables, "paper")
    return epochs["loss"].iloc[-1] < 0.2 * epochs["loss"].iloc[0]


def old_keras_decay_slows_learning_by_heart(tables):
    (plain, _), (old, _) = (of_run(tables, name) for name in ("paper", "paper_legacy_decay"))
    epoch = min(plain.index[-1], old.index[-1])
    return old["loss"][epoch] > 1.5 * plain["loss"][epoch]


def overfits(tables):
    epochs, _ = of_run(tables, "paper")
    return epochs["val_loss"].iloc[-1] > 1.2 * epochs["val_loss"].min()


@dataclass(frozen=True)
class Refuted:
    """Words that no page may say, as a pattern in lower case, and the numbers that refute them."""

    words: str
    because: object
    pages: tuple[str, ...] = ("05", "08", "09", "13")


REFUTED = [
    Refuted(r"needs? (some )?millions? (of )?steps(?!, not)", learns_within_thousands_of_steps),
    Refuted(r"millions of steps", learns_within_thousands_of_steps),
    Refuted(r"takes? a million steps", learns_within_thousands_of_steps),
    Refuted(r"hardly moves? a weight", moves_enough_to_learn),
    Refuted(r"that recipe hardly moves", moves_enough_to_learn),
    Refuted(r"learning rate hardly move", moves_enough_to_learn),
    Refuted(r"weight decay does nothing at all", old_keras_decay_slows_learning_by_heart),
    Refuted(r"why does the weight decay do nothing", old_keras_decay_slows_learning_by_heart),
    Refuted(r"nobody can look on while they happen", learns_within_thousands_of_steps),
    Refuted(r"more epochs would (surely|certainly) help", overfits),
]


@pytest.mark.parametrize("refuted", REFUTED, ids=lambda one: one.words)
def test_the_record_refutes_what_no_page_says(refuted, tables):
    """Where the record changes its mind, this list must follow, before the pages are read."""
    assert refuted.because(tables), f"the record no longer refutes {refuted.words!r}"
    for number in refuted.pages:
        found = re.search(refuted.words, squeezed(prose(chapter(number))))
        assert not found, f"chapter {number}: {found.group()!r}"
    assert not re.search(refuted.words, squeezed(CLAIMS.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "it needs some **million\n    steps**, and",
        'so 1e-6 needs\n"\n"millions of steps',
        "why it hardly moves a weight",
        "why its weight decay does nothing at all",
    ],
)
def test_a_refuted_sentence_would_be_found(text):
    assert any(re.search(one.words, squeezed(text)) for one in REFUTED)


def test_what_is_true_is_not_taken_for_it():
    said = "at the paper's width 1e-6 needs some thousand steps, not millions"
    assert not any(re.search(one.words, said) for one in REFUTED)


# --- Recorded numbers are computed ---------------------------------------------------------------


def recorded_numbers(tables):
    """As a page would type them: scores to two and three places, steps in thousands."""
    history, runs = tables["history"], tables["runs"]
    scores = pd.concat(
        [history[name] for name in ("loss", "val_loss", "val_dice", "val_dice_pooled")]
        + [runs[name].dropna() for name in runs if name.startswith("test_dice")]
    ).astype(float)
    steps = pd.concat([history["steps"], runs["steps"]]).astype(int)
    return {f"{value:.3f}" for value in scores} | {f"{value:,}" for value in steps}


def headline_numbers(tables):
    """The ends, the best and the tested scores of the runs, to two places as well."""
    found = set()
    for row in tables["runs"].to_dict("records"):
        history = tables["history"]
        epochs = history[history["run"].eq(row["run"]) & history["seed"].eq(row["seed"])]
        tested = [row[column] for column in row if column.startswith("test_dice")]
        found |= {
            f"{value:.2f}"
            for value in [epochs["val_dice"].max(), *tested]
            if not pd.isna(value) and value > 0.25
        }
    return found


def typed(text, numbers):
    """Those of `numbers` that stand in a text, not as a part of longer ones."""
    return sorted(set(re.findall(r"(?<![\d.,])\d[\d,]*(?:\.\d+)?(?![\d.,]*\d)", text)) & numbers)


@pytest.mark.parametrize("number", COMPUTED)
def test_recorded_numbers_are_computed_and_not_typed(number, tables):
    cells = chapter(number)
    numbers = recorded_numbers(tables)
    assert not typed(markdown(cells), numbers | headline_numbers(tables))
    assert not typed(code(cells), {one for one in numbers if float(one.replace(",", "")) >= 1000})
    # In code a short number may be a size or a shade; in the texts of f-strings none is typed.
    texts = " ".join(re.findall(r'f"([^"\n]*)"', code(cells)))
    assert not typed(re.sub(r"\{[^{}]*\}", "", texts), numbers)


@pytest.mark.parametrize("number", COMPUTED)
def test_a_chapter_opens_the_record_that_it_speaks_of(number):
    assert f'open_result("{SPEAKS_OF[number]}")' in code(chapter(number))


def test_typed_numbers_would_be_found(tables):
    numbers = recorded_numbers(tables) | headline_numbers(tables)
    _, row = of_run(tables, "paper")
    epochs, _ = of_run(tables, "paper")
    best = epochs["val_dice"].idxmax()
    said = (
        f"It reaches {row['test_dice_per_subject']:.2f}, from {epochs['val_loss'].min():.3f}, "
        f"after {epochs['steps'][best]:,} steps."
    )
    assert len(typed(said, numbers)) == 3
    assert not typed("a rate of 1e-6, chapter 9.125, 0.8, 4,608 weights", numbers)


@pytest.mark.parametrize("number", COMPUTED)
def test_the_claims_of_a_chapter_rest_on_the_record(number):
    (cell,) = [cell for cell in chapter(number) if "claims" in cell["metadata"].get("tags", [])]
    text = "".join(cell["source"])
    for name in ("rate_converges", "weight_decay", "batch_of_one", "more_epochs"):
        said = text.split(f'"{name}": (')[1].split('\n    "')[0]
        assert re.search(r"\{\w*(paper|quick|difference|last)", said), f"{name} computes nothing"
    assert not re.search(r"claims\.(HOLDS|FAILS)|, (True|False|None)\)", text), "a typed verdict"


# --- What the executed pages show ----------------------------------------------------------------


def test_page_5_shows_the_recorded_runs(executed, tables):
    page = html.unescape(shown(executed("05_gpu_training")))
    assert figures.paper_scale_alt(tables["history"], tables["runs"]) in page
    for row in tables["runs"].to_dict("records"):
        assert row["recipe"] in page
        for column in ("test_dice_per_slice", "test_dice_per_subject", "test_dice_pooled"):
            assert pd.isna(row[column]) or re.search(rf"\b{row[column]:.2f}", page), (row, column)
    coupled = tables["runs"]["run"].eq("paper_coupled_decay").any()
    assert ("Nothing is recorded of: " in page) or coupled


def test_the_table_of_what_is_missing_lists_every_run_that_is_planned():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import paper

    text = next("".join(c["source"]) for c in chapter("05") if c["id"] == "paper-run-missing")
    space = dict(lineup=lineup)
    exec(text[: text.index("rows = []")], space)
    wanted = Counter(plan.name for plan in paper.plans(paper.SIZES["paper"]))
    listed = Counter({name: n for names, n in space["planned"].values() for name in names})
    assert listed == wanted


def test_page_8_says_of_the_recorded_networks_what_their_scores_say(executed):
    page = shown(executed("08_baseline_networks"))
    scores = experiments.open_result("networks", ROOT / "results").tables["scores"]
    ranking = lineup.ranking(scores)
    place, of = statistics.rank(ranking.set_index("name")["mean"], lineup.REFERENCE)
    assert f"The Ken-model is number {place} of {of}." in page
    for row in ranking.itertuples():
        assert re.search(rf"\b{row.mean:.3f}\b", page), row.title
    flat = ranking[ranking.name != "dunet"]["mean"]
    assert f"networks of one slice {flat.min():.3f} to {flat.max():.3f} (recorded" in page


# --- What the sentences of chapter 5 say without numbers -----------------------------------------


def test_what_chapter_5_says_in_words_is_in_the_record(tables):
    """ "It learns and then over-fits", "loses", "the score stayed the same", "some thousand"."""
    assert learns_within_thousands_of_steps(tables) and overfits(tables)
    epochs, row = of_run(tables, "paper")
    quick_epochs, quick = of_run(tables, "quick_full")
    assert 1_000 <= epochs["steps"][epochs["val_dice"].idxmax()] < 100_000
    assert quick["test_dice_per_subject"] > 1.5 * row["test_dice_per_subject"]
    _, old = of_run(tables, "paper_legacy_decay")
    assert abs(old["test_dice_per_subject"] - row["test_dice_per_subject"]) < 0.05
    unet, _ = of_run(tables, "paper_unet")
    assert unet["val_dice"][1] < 0.05 < unet["val_dice"][2]  # background for an epoch
    assert unet["val_loss"].idxmin() > epochs["val_loss"].idxmin()  # over-fits later
    ratio = quick_epochs["val_loss"].iloc[-1] / quick_epochs["loss"].iloc[-1]
    assert ratio < 2 < epochs["val_loss"].iloc[-1] / epochs["loss"].iloc[-1]  # stay together
