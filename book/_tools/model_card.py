"""The tables of the model card, made from what is recorded in results/."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from kenseg_utils import prediction
from kenseg_utils.experiments import judging
from kenseg_utils.teaching import output_table

PLACE = "<!-- here the build puts what is recorded: book/_tools/model_card.py -->"
JUDGED = {"group", "case", "found_ml"}  # columns that tell a table of benchmarks/judge_heads.py
SCORES = {
    "case": "scans",
    "found_ml": "found (ml)",
    "lesion_ml": "lesion (ml)",
    "dice": "Dice",
    "recall": "recall",
    "precision": "precision",
}
ASKED = {  # mirrored, moved
    (False, False): "the head as it is",
    (True, False): "the head and its mirror image; the mean counts",
    (False, True): "the head, and the head a voxel further on; the mean counts",
    (True, True): "the head, its mirror image, and either a voxel further on; the mean counts",
}
NOTHING = (
    "**Not recorded yet**: no network of whole volumes is recorded in this copy of the book. "
    "`prediction.open_network()` opens the network of slices, whose scores chapter 12 shows."
)


def fill(target: Path, results: Path) -> None:
    """Put the tables into the staged page. ValueError where the page has no place for them."""
    text = target.read_text(encoding="utf-8")
    if PLACE not in text:
        raise ValueError(f"{target}: the line {PLACE!r} is missing.")
    target.write_text(text.replace(PLACE, page(results)), encoding="utf-8")


def page(results: Path) -> str:
    """What is recorded of the network, then where it scores what, as Markdown with HTML tables."""
    parts = ["## What it is", _network(results), "## What it scores, and where"]
    found = judged(results)
    if not found:
        parts.append(
            "**Not recorded yet**: nothing is known of how it does on other heads than those it "
            "was made from, and nothing should be expected of it."
        )
    for name, (about, scans) in found.items():
        parts += _scored(name, about, scans)
    return "\n\n".join(parts)


def judged(results: Path) -> dict[str, tuple[dict, pd.DataFrame]]:
    """By name, provenance and table of each result that the judge of whole heads recorded."""
    found = {}
    for file in sorted(results.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = content.get("tables", {}).get("scans", [])
        if rows and JUDGED <= set(rows[0]):
            found[file.stem] = content["provenance"], pd.DataFrame(rows)
    return found


def _network(results: Path) -> str:
    """What the recorded network says of itself."""
    file = results / f"{prediction.BEST_FIRST[0]}.npz"
    if not file.exists():
        return NOTHING
    with np.load(file, allow_pickle=False) as kept:
        about = json.loads(kept["about"].tobytes())
        count = sum(kept[key].size for key in kept if key != "about")
    recipe = about["recipe"]
    minutes = f"{about['seconds'] / 60:.0f} minutes" if "seconds" in about else ""
    stages = about.get("trainings", [])
    first = about.get("plan", {}).get("start_from")
    alone = first and len(stages) < 2  # else the list of trainings says it
    began = f", beginning with what the `{first}` before it had learned" if alone else ""
    share = about.get("peak_share", 0)
    lines = {
        "Network": f"`{recipe['network']}`, {count / 1e6:.2f} million parameters",
        "Input": " × ".join(map(str, about["input_shape"])) + " (x, y, z, channels), 2 mm",
        "Trained for": minutes and minutes + began,
        "On": about.get("device"),
        "Finished": str(about["finished"])[:10] if "finished" in about else None,
        "Commit": f"`{about['commit']}`" if "commit" in about else None,
        "Asked about": ASKED[bool(about.get("mirrored")), bool(about.get("moved"))],
        "Threshold": f"{about.get('threshold', 0.5):g}, which its answers are shifted to call 0.5",
        "A find is drawn": f"from {share:.0%} of its highest probability on" if share else None,
        "Smallest find": f"{about['least_ml']:g} ml" if "least_ml" in about else None,
    }
    told = "\n".join(f"- **{name}**: {value}" for name, value in lines.items() if value)
    return "\n\n".join([told, *(_trainings(stages) if len(stages) > 1 else [])])


def _trainings(stages: list[dict]) -> list[str]:
    """All trainings that led to the network: a sentence, and a table."""
    rows = pd.DataFrame(stages)
    steps, hours = int(rows.steps.sum()), rows.minutes.sum() / 60
    unknown = stages[0]["began_with"]
    shown = pd.DataFrame(
        {
            "training": np.arange(1, len(rows) + 1),
            "steps": rows.steps,
            "heads a step": rows.batch,
            "minutes": rows.minutes.round().astype(int),
            "widths": rows.widths.map(lambda widths: ", ".join(map(str, widths))),
            "version of the heads": rows.heads,
            "on": rows.device,
        }
    )
    return [
        f"It was trained {len(rows)} times, each time going on from what had been learned before"
        + (f" (the first from `{unknown}`, of which nothing more is recorded)" if unknown else "")
        + f": **{steps:,} steps in {hours:.1f} hours** together. From random weights and in one "
        "piece, nobody has tried it yet.",
        output_table(shown, "The trainings that led to it, in their order.").data,
    ]


def _scored(name: str, about: dict, scans: pd.DataFrame) -> list[str]:
    means, each = judging.means(scans), judging.single(scans)
    healthy = each[each.group == judging.HEALTHY]
    made = each[each.group == judging.MADE].found_ml
    network = about.get("network") or name
    short = re.split(r"[(,:]", network)[0].strip()  # a heading is no sentence; what follows is one
    parts = [
        f"### Scores of {short}",
        f"Judged: {network}.",
        _table(means, f"Means of each kind of scan; {short}."),
    ]
    if each.group.isin(judging.DRAWN).any() and "lesion_ml" in each:
        parts += _by_kind(scans, short)
    if len(healthy):
        found = healthy.found_ml > 0
        parts += [
            f"Healthy heads, in which every find is wrong: something is found in {found.sum()} of "
            f"{len(healthy)}, at most {healthy.found_ml.max():.2f} ml.",
            _table(healthy, f"What is found in healthy heads; {short}."),
        ]
    if len(made):
        parts.append(
            "Synthetic heads without lesion, made to mislead (wide ventricles, white-matter "
            "disease, cysts, atrophy), by the generator of the training's heads: something is "
            f"found in {(made > 0).sum()} of {len(made)}, more than {judging.MOST_ML:g} ml in "
            f"{(made > judging.MOST_ML).sum()}, {made.mean():.2f} ml in the mean."
        )
    finished = f"{about.get('finished', '')}"[:10]
    parts.append(f"From `results/{name}.json`{finished and ', recorded ' + finished}.")
    return parts


def _by_kind(scans: pd.DataFrame, short: str) -> list[str]:
    """What becomes of lesions by their size, and by the head that they are painted into."""
    sizes, heads = judging.by_size(scans), judging.by_head(scans)
    tables = [
        output_table(
            sizes.reset_index(),
            "Lesions of drawn shapes, painted ones and phantoms together, by their volume; missed: "
            f"no voxel right; {short}.",
            2,
        ).data
    ]
    if len(heads):
        heads.columns = [f"{what}, {which}" for which, what in heads.columns]
        tables.append(
            output_table(
                heads.reset_index(),
                f"Painted lesions by the healthy head; large: of 5 ml and more; {short}.",
                2,
            ).data
        )
    return tables


def _table(rows: pd.DataFrame, caption: str) -> str:
    shown = rows[[column for column in SCORES if column in rows]].dropna(axis=1, how="all")
    return output_table(shown.rename(columns=SCORES), caption).data
