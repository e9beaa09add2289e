"""The picture that other sites show beside a link to the book: 1200 × 630, drawn here."""

from pathlib import Path

from matplotlib.figure import Figure

from kenseg_utils.figures import BLUE, ORANGE, SKY_BLUE

LEVELS = 5


def draw(path: Path, title: str) -> None:
    """Write the card as PNG: the book's title, and the grid of the network that it builds."""
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#10202b", layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1200), ylim=(0, 630))
    axes.set_axis_off()

    def place(level, column):
        return 660 + 110 * column + 55 * level, 530 - 105 * level

    for level in range(LEVELS):
        for column in range(LEVELS - level):
            node = place(level, column)
            below = [place(level + 1, column)] if column + level < LEVELS - 1 else []
            above = [place(level - 1, column + 1)] if level else []
            for other in below + above:
                axes.plot(*zip(node, other), color=SKY_BLUE, lw=2, alpha=0.6, zorder=1)
            deepest = level == LEVELS - 1
            axes.scatter(
                *node, s=1500 if deepest else 900, color=ORANGE if deepest else BLUE, zorder=2
            )
    first, _, second = title.partition(", ")
    axes.text(
        70,
        400,
        first.replace(" in ", "\nin "),
        color="white",
        fontsize=46,
        weight="bold",
        va="center",
        linespacing=1.2,
    )
    axes.text(70, 255, second, color=ORANGE, fontsize=46, weight="bold", va="center")
    axes.text(
        70,
        110,
        "A paper rebuilt, step by step, in notebooks that run",
        color="#d5e3ec",
        fontsize=20,
        va="center",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
