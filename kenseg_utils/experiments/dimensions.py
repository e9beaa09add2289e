"""Slices, slices with their neighbours, or volumes: the same heads, as much time, one rule.

    python -m kenseg_utils.experiments.dimensions --out FOLDER --minutes 8 --heads T1.nii.gz

Three small networks learn from one pool of synthetic heads, each for so many minutes of processor
time, and are judged by the rule of `benchmarks/judge_heads.py` on development cases alone:
phantoms of the other generator, lesions painted into `--heads` (healthy T1w that no training saw),
and those heads as they are. `--record` keeps the table as results/dimensions.json.
Run again with the same folder, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from kenseg_utils.prediction import frames

from . import judging
from ._recorded import save_result
from .synthesis import LOSS_VERSION, VIEWS, Plan, fill_pool, train_by_clock

OF_A_CASE = ("group", "case", "lesion_ml", "found_ml", "dice")
LITTLE = Plan(workers=0, phantoms=0, own=1, log_seconds=1e9, save_seconds=60, clock="processor")
PLANS = {
    "2-D": replace(LITTLE, network="unet2d", widths=(16, 32, 64, 80), batch=1),
    "2.5-D": replace(LITTLE, network="unet25d", widths=(16, 32, 64, 80), batch=1),
    "3-D": replace(LITTLE, network="unet3d_half", widths=(16, 32, 48, 64), batch=1),
}


def development_cases(heads: Sequence[Path], count: int) -> list[judging.Case]:
    """Cases with even numbers, `count` of each kind: phantoms, painted into each head; and heads.

    Without heads there are phantoms alone, and the rule knows of nothing healthy.
    """
    numbers = range(0, 2 * count, 2)
    cases = [judging.of_phantom(number) for number in numbers]
    for file in heads:
        cases += [judging.with_lesion(file, number) for number in numbers]
        seen = frames.look(*judging.opened(file))[1]
        cases.append((judging.HEALTHY, file.name.split(".")[0], 0, seen, None))
    return cases


def compare_dimensions(
    plans: Mapping[str, Plan],
    out: Path,
    cases: Callable[[], list[judging.Case]],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, pd.DataFrame]:
    """Train by each plan on the pool in `out`, judge, and say what came of it in two tables.

    `networks` has a row a network, `cases` one for each case and network, both with what the rule
    chose for that network. The argument `cases` is asked for the cases where a network has not
    been judged yet: each has its folder in `out`, with its training and what the judge said after
    so many steps.
    """
    known: list[judging.Case] = []
    rows, by_case = [], []
    for name, plan in plans.items():
        folder = out / name
        file = train_by_clock(plan, folder, out / "pool", say=partial(_named, say, name))
        log = pd.read_csv(folder / "log.csv").iloc[-1]
        judged = folder / f"judged-{log.step:.0f}.csv"
        if not judged.exists():
            known = known or cases()
            _judged(plan, file, known).to_csv(judged, index=False)
        table = pd.read_csv(judged)
        choice, told = judging.choose(table)
        rows.append({"network": name, "steps": int(log.step), "minutes": log.seconds / 60})
        rows[-1] |= _scores(table, choice, told)
        chosen = judging.with_choice(table, choice)[list(OF_A_CASE)]
        by_case.append(chosen.assign(network=name))
    return {"networks": pd.DataFrame(rows), "cases": pd.concat(by_case, ignore_index=True)}


def _named(say: Callable[[str], None], name: str, line: str) -> None:
    say(f"{name}: {line}")


def _judged(plan: Plan, file: Path, cases: list[judging.Case]) -> pd.DataFrame:
    """The judge's table of a trained network, which is asked once about each case."""
    import keras

    model = keras.models.load_model(file, compile=False)
    once = [(False, False)]
    table = judging.judge(partial(VIEWS[plan.network].probability, model), cases, once)
    return table.assign(parameters=model.count_params())


def _scores(table: pd.DataFrame, choice: dict, told: pd.DataFrame) -> dict[str, float]:
    """What the judge's table comes to, with the choice that the rule takes."""
    best = told.merge(pd.DataFrame([choice]), on=judging.CHOICE).iloc[0]
    return {
        "parameters": int(table.parameters.iloc[0]),
        "threshold": choice["threshold"],
        "least_ml": choice["least_ml"],
        "Dice, phantoms": best.get("phantoms"),
        "Dice, painted": best.get("painted"),
        "most ml in a healthy head": best.worst_ml,
    }


def silent_networks(cases: pd.DataFrame) -> list[str]:
    """The networks that found nothing in any case, with what the rule chose for them."""
    most = cases.groupby("network", sort=False).found_ml.max()
    return list(most[most == 0].index)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kenseg_utils.experiments.dimensions", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--minutes", type=float, default=8.0, help="of processor time, for each")
    parser.add_argument("--pool-size", type=int, default=200, help="synthetic heads, made once")
    parser.add_argument("--cases", type=int, default=4, help="of each kind, to judge on")
    parser.add_argument("--heads", type=Path, nargs="*", default=[], help="healthy T1w")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that make heads")
    parser.add_argument("--record", action="store_true", help="keep it as results/dimensions.json")
    given = parser.parse_args(arguments)
    fill_pool(given.out / "pool", given.pool_size, given.workers, given.seed)
    plans = {
        name: replace(plan, minutes=given.minutes, pool_size=given.pool_size, seed=given.seed)
        for name, plan in PLANS.items()
    }
    tables = compare_dimensions(
        plans,
        given.out,
        lambda: development_cases(given.heads, given.cases),
        say=lambda line: print(line, flush=True),
    )
    print(tables["networks"].round(3).to_string())
    if given.record:
        if silent := silent_networks(tables["cases"]):
            parser.exit(
                1,
                f"Not recorded: {' and '.join(silent)} found nothing in any case. Such a "
                "training collapsed, and tells nothing of dimensions: try another --seed in "
                "another --out.\n",
            )
        about = dict(heads=given.pool_size, cases=given.cases, seed=given.seed, loss=LOSS_VERSION)
        about |= dict(inside_hull=True)  # see `judging.judge`
        print(save_result("dimensions", tables, **about))


if __name__ == "__main__":
    main()
