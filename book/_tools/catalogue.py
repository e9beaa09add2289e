"""The drawings and the prices of the page "The eleven networks", made from the networks' layers.

    python book/_tools/catalogue.py PAGE PROFILE

A line such as `<!-- network: fcn8s -->` in the page becomes a drawing with its alternative text,
`<!-- networks: costs -->` a table, a figure and a sentence. In profile smoke the networks are made
small. What was drawn is kept in `_build` until the networks change.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from kenseg_utils import artifacts, figures
from kenseg_utils.experiments import lineup
from kenseg_utils.teaching import output_table

NETWORK = re.compile(r"^<!-- network: ([\w-]+) -->$", re.M)
COSTS = "<!-- networks: costs -->"
KEPT = Path("_build/catalogue")
# The stage that a network is known for: how its layers' names begin, and the word in the drawing.
MARKS = {
    "pspnet": {"pyramid": "pyramid"},
    "deeplab_v3plus": {"aspp": "ASPP"},
    "xnet": {"similarity": "similarity"},
    "ken_unetpp": {"bottleneck": "Ken block"},
}
SEEN = ("networks/*.py", "blocks.py", "figures/*.py", "experiments/lineup.py")


def drawn(folder: Path, small: bool) -> None:
    """Draw each network, as published or small, into the folder, and write its numbers."""
    from kenseg_utils import networks

    numbers = {}
    for name, member in lineup.MEMBERS.items():
        size = lineup.size_of(name, lineup.SCALES["smoke"]) if small else {}
        model = networks.sketch(
            name, (128, 128, member.channels), widths=size.get("widths"), **size.get("options", {})
        )
        figure = figures.stage_diagram(model, MARKS.get(name), title=member.title)
        figure.savefig(folder / f"{name}.png", dpi=110)
        numbers[name] = dict(
            alt=figures.described(model),
            parameters=int(model.count_params()),
            multiply_adds=int(networks.multiply_adds(model)),
        )
    artifacts.write_json(folder / "numbers.json", numbers)


def kept(small: bool) -> Path:
    """The folder with the drawings and numbers, made first where the networks have changed."""
    package = Path(artifacts.__file__).parent
    sources = sorted(file for pattern in SEEN for file in package.glob(pattern))
    key = artifacts.key(small=small, sources=[artifacts.fingerprint(file) for file in sources])
    return artifacts.build(KEPT / key, lambda folder: drawn(folder, small))


def prices(numbers: dict) -> pd.DataFrame:
    """A row a network: name, network, source, parameters (millions), multiply_adds (billions)."""
    rows = [
        dict(
            name=name,
            network=lineup.MEMBERS[name].title,
            source=lineup.MEMBERS[name].source,
            parameters=one["parameters"] / 1e6,
            multiply_adds=one["multiply_adds"] / 1e9,
        )
        for name, one in numbers.items()
    ]
    return pd.DataFrame(rows).sort_values("multiply_adds", ignore_index=True)


def price_map(sizes: pd.DataFrame) -> Figure:
    """Parameters against multiply-adds, the Ken-model apart."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in sizes.itertuples():
        own = row.name == lineup.REFERENCE
        axes.scatter(
            row.parameters,
            row.multiply_adds,
            s=60,
            zorder=3,
            color=figures.VERMILION if own else figures.BLUE,
            marker="D" if own else "o",
        )
        below = row.name == "dunet"  # its neighbour UNet++ is nearly as large
        axes.annotate(
            row.network,
            (row.parameters, row.multiply_adds),
            (6, -14 if below else 4),
            textcoords="offset points",
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="parameters (millions)",
        ylabel="multiply-adds (billions)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set(
            major_locator=LogLocator(subs=(1, 2, 5)),
            major_formatter="{x:g}",
            minor_locator=NullLocator(),
        )
    axes.margins(x=0.18, y=0.12)
    axes.grid(alpha=0.25)
    return figure


def costs(sizes: pd.DataFrame, built: str, folder: Path) -> str:
    """The table, the figure (drawn into the folder) and the sentence on what networks cost."""
    price_map(sizes).savefig(folder / "network-costs.png", dpi=110)
    dearest, largest = sizes.iloc[-1], sizes.loc[sizes.parameters.idxmax()]
    by_name = sizes.set_index("name")
    own, plain = by_name.loc[lineup.REFERENCE], by_name.loc["unetpp"]
    table = output_table(
        sizes[["network", "source", "parameters", "multiply_adds"]].rename(
            columns={
                "parameters": "parameters (millions)",
                "multiply_adds": "multiply-adds (billions)",
            }
        ),
        f"The networks {built}, for a 128×128 slice and two classes, cheapest first.",
    ).data
    figure = _figure(
        "costs",
        f"Parameters against multiply-adds of the eleven networks {built}. The two do not go "
        f"together: {largest.network} has most parameters, {dearest.network} most multiply-adds.",
        "Two prices that do not go together.",
    )
    return (
        f"{table}\n\n{figure}\n\n"
        f"{largest.network} has the most parameters, {largest.parameters:.1f} million, and needs "
        f"{largest.multiply_adds:.2g} billion multiply-adds; {dearest.network}, with "
        f"{dearest.parameters:.1f} million, needs the most, {dearest.multiply_adds:.3g} billion. "
        f"The Ken-model is {own.parameters / plain.parameters:.1f} times as large as UNet++ and "
        f"costs {own.multiply_adds / plain.multiply_adds:.1f} times as much."
    )


def _figure(name: str, alt: str, caption: str) -> str:
    return (
        f":::{{figure}} _drawn/network-{name}.png\n:alt: {alt}\n:name: network-{name}\n\n"
        f"{caption}\n:::"
    )


def fill(page: Path, small: bool) -> None:
    """Put the drawings and prices into the page, pictures beside it in the folder `_drawn`.

    Raises ValueError where the page lacks a network, or asks for one that there is not.
    """
    text = page.read_text(encoding="utf-8")
    wanted = NETWORK.findall(text)
    if set(wanted) != set(lineup.MEMBERS) or text.count(COSTS) != 1:
        raise ValueError(
            f"{page.name} must ask for each network of the comparison and once for {COSTS}: it "
            f"asks for {', '.join(wanted) or 'none'}; there is {', '.join(lineup.MEMBERS)}."
        )
    matplotlib.rcParams.update(figures.STYLE)
    made, folder = kept(small), page.parent / "_drawn"
    folder.mkdir(exist_ok=True)
    numbers = json.loads((made / "numbers.json").read_text(encoding="utf-8"))
    built = "made small for profile smoke" if small else "as published"

    def put(found: re.Match) -> str:
        name = found[1]
        shutil.copy(made / f"{name}.png", folder / f"network-{name}.png")
        one = numbers[name]
        caption = (
            f"{lineup.MEMBERS[name].title} {built}: {one['parameters'] / 1e6:.2f} million "
            f"parameters, {one['multiply_adds'] / 1e9:.2f} billion multiply-adds a slice."
        )
        return _figure(name, one["alt"], caption)

    text = NETWORK.sub(put, text).replace(COSTS, costs(prices(numbers), built, folder))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    fill(Path(sys.argv[1]), small=sys.argv[2] == "smoke")
