"""Drawings of networks come from the models, and tell the truth about them."""

import numpy as np
import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

from kenseg_utils import figures

WIDTHS = (4, 8, 12, 16)


@pytest.fixture(scope="module")
def ken_model():
    from kenseg_utils import networks

    return networks.sketch("ken_unetpp", input_shape=(32, 48, 1), widths=WIDTHS)


@pytest.fixture(scope="module")
def unet():
    from kenseg_utils import networks

    return networks.sketch("unet", input_shape=(32, 32, 1), widths=WIDTHS)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_edges_of_unetpp_are_those_of_the_article(ken_model):
    """x[i, j] reads x[i, 0] … x[i, j-1] and x[i+1, j-1]; column 0 reads the node above."""
    expected = {}
    for i in range(4):
        if i:
            expected[f"x{i - 1}0", f"x{i}0"] = "down"
        for j in range(1, 4 - i):
            expected[f"x{i + 1}{j - 1}", f"x{i}{j}"] = "up"
            expected |= {
                (f"x{i}{k}", f"x{i}{j}"): "skip" if k == j - 1 else "dense" for k in range(j)
            }
    assert figures.grid_edges(ken_model) == expected


def test_edges_of_unet_have_one_skip_a_row(unet):
    edges = figures.grid_edges(unet)
    assert {edge for edge, kind in edges.items() if kind == "skip"} == {
        ("x00", "x03"),
        ("x10", "x12"),
        ("x20", "x21"),
    }
    assert sorted(edges.values()) == ["down"] * 3 + ["skip"] * 3 + ["up"] * 3


def test_a_missing_edge_is_missing_in_the_drawing():
    """Nothing is typed in by hand: a grid built without a skip is drawn without it."""
    import keras
    from keras import layers

    x00 = layers.Conv2D(2, 3, padding="same", name="x00")(inputs := keras.Input((8, 8, 1)))
    x10 = layers.Conv2D(4, 3, padding="same", name="x10")(layers.MaxPooling2D()(x00))
    x01 = layers.Conv2D(2, 3, padding="same", name="x01")(layers.UpSampling2D()(x10))
    model = keras.Model(inputs, x01)
    assert figures.grid_edges(model) == {("x00", "x10"): "down", ("x10", "x01"): "up"}
    figure = figures.network_grid(model)
    assert len(figure.findobj(FancyArrowPatch)) == 2
    assert {"skip", "dense skip"}.isdisjoint(texts(figure))


def test_the_grid_names_nodes_channels_and_sizes(ken_model):
    figure = figures.network_grid(ken_model)
    words = texts(figure)
    for i, width in enumerate(WIDTHS):
        assert {f"x{i}{j}\n{width}" for j in range(4 - i)} <= set(words)
        assert f"{32 // 2**i}×{48 // 2**i}" in words
    assert (
        len(figure.findobj(FancyArrowPatch)) == len(figures.grid_edges(ken_model)) == 3 + 6 + 6 + 4
    )
    assert "with the\nKen block" in words
    colours = {arrow.get_edgecolor() for arrow in figure.findobj(FancyArrowPatch)}
    assert len(colours) == 4
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 9


def test_the_ken_block_is_only_where_it_is(unet):
    assert "with the\nKen block" not in texts(figures.network_grid(unet))


def test_a_network_off_the_grid_is_refused(ken_model):
    import keras

    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3)(inputs), name="other")
    with pytest.raises(ValueError, match="other.*x00"):
        figures.network_grid(model)
    with pytest.raises(ValueError, match="bottle"):
        figures.block_diagram(model, "bottle")


def test_the_ken_block_is_drawn_with_its_four_branches_and_its_skip(ken_model):
    figure = figures.block_diagram(ken_model, "bottleneck")
    words = texts(figure)
    assert {f"conv {k}×{k}\n4" for k in (1, 3, 5, 7)} <= set(words)
    assert {"input\n16 channels", "join\n16", "add", "relu"} <= set(words)
    layers = [layer for layer in ken_model.layers if layer.name.startswith("bottleneck")]
    boxes = [box for box in figure.findobj(FancyBboxPatch) if box.get_visible()]
    assert len(boxes) == len(layers) + 1  # and the input
    # 4 into branches, 4 into their norms, 4 into the join, 2 into the sum, 1 into the activation
    assert len(figure.findobj(FancyArrowPatch)) == 15


def test_no_line_of_a_block_diagram_runs_through_a_box(ken_model):
    """The skip goes around what it skips."""
    for block in ("bottleneck", "x10_block1", "x00"):
        figure = figures.block_diagram(ken_model, block)
        (axes,) = figure.axes
        boxes = [box for box in figure.findobj(FancyBboxPatch) if box.get_visible()]
        lines = [
            line
            for line in axes.findobj(Line2D)
            if len(line.get_xdata()) >= 2 and line.get_color() == figures.GREY
        ]
        assert lines
        for line in lines:
            corners = np.column_stack(line.get_data())
            ends = {tuple(corners[0]), tuple(corners[-1])}
            points = np.concatenate([np.linspace(a, b, 50) for a, b in zip(corners, corners[1:])])
            for box in boxes:
                x, y, wide, high = box.get_x(), box.get_y(), box.get_width(), box.get_height()
                middle = (round(x + wide / 2, 6), round(y + high / 2, 6))
                if middle not in {(round(a, 6), round(b, 6)) for a, b in ends}:
                    inside = (
                        (points > (x + 0.1, y + 0.1)) & (points < (x + wide - 0.1, y + high - 0.1))
                    ).all(axis=1)
                    assert not inside.any(), (block, middle)


@pytest.mark.parametrize("name, mark", [("pspnet", "pyramid"), ("xnet", "similarity")])
def test_no_arrow_runs_through_the_word_beside_a_stage(name, mark):
    from kenseg_utils import networks

    model = networks.sketch(name, width_multiplier=0.05)
    figure = figures.stage_diagram(model, {mark: "a word"})
    figure.draw_without_rendering()
    (word,) = [text for text in figure.axes[0].texts if text.get_text() == "a word"]
    box = word.get_window_extent()
    for arrow in figure.findobj(FancyArrowPatch):
        corners = arrow.get_transform().transform(arrow.get_path().vertices)
        points = np.concatenate([np.linspace(a, b, 50) for a, b in zip(corners, corners[1:])])
        inside = (points > (box.x0, box.y0)) & (points < (box.x1, box.y1))
        assert not inside.all(axis=1).any()


def test_halving_ladder_counts_until_a_side_is_odd():
    words = texts(figures.halving_ladder([124, 128, 31]))
    assert "31 is odd: 2 halvings" in words and "1 cannot be halved: 7 halvings" in words
    assert "31 is odd: 0 halvings" in words
    assert {"124", "62", "128", "64", "2", "1"} <= set(words)
    assert "96" in texts(figures.halving_ladder(96))


def test_receptive_field_tells_how_far_a_block_sees():
    dense, dilated = np.zeros((15, 15)), np.zeros((15, 15))
    dense[5:10, 5:10] = -1  # gradients may be negative
    dilated[3:12:4, 5:10:2] = 1
    words = texts(
        figures.receptive_field({"two 3×3": dense, "dilated": dilated, "blind": np.zeros((15, 15))})
    )
    assert "two 3×3\nsees 5×5 pixels" in words
    assert "dilated\nsees 9×5 pixels" in words
    assert "blind\nsees 0×0 pixels" in words


def test_words_stay_inside_their_boxes(ken_model):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for block in ("bottleneck", "x10"):
        figure = figures.block_diagram(ken_model, block)
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [
            box.get_window_extent() for box in figure.findobj(FancyBboxPatch) if box.get_visible()
        ]
        words = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
        assert len(words) == len(boxes)
        assert all(
            any(
                box.x0 < word.x0 and word.x1 < box.x1 and box.y0 < word.y0 and word.y1 < box.y1
                for box in boxes
            )
            for word in words
        )
