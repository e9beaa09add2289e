"""Figures: what is drawn where, in which colour, with which words."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from kenseg_utils import figures, slices
from kenseg_utils.figures import _brains


@pytest.fixture(scope="module")
def head():
    """A ball with a brighter right half, and a lesion on the left: image, mask."""
    x, y, z = np.indices((40, 48, 36))
    inside = ((x - 20) / 17) ** 2 + ((y - 24) / 20) ** 2 + ((z - 18) / 15) ** 2 < 1
    image = np.where(inside, np.where(x > 20, 100, 60), 0).astype("float32")
    mask = (x - 10) ** 2 + (y - 30) ** 2 + (z - 20) ** 2 < 16
    return image, mask.astype("uint8")


def pixels(figure: Figure) -> np.ndarray:
    """The figure as drawn: (rows, columns, RGB)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def texts(figure: Figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def font_sizes(figure: Figure) -> list[float]:
    from matplotlib.text import Text

    return [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]


@pytest.fixture
def shown(monkeypatch):
    """What `show` sends to the notebook: a list of {data, metadata}."""
    monkeypatch.setattr(InteractiveShell, "_instance", None, raising=False)
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


def test_show_sends_one_png_with_its_alternative_text(shown):
    figure = Figure()
    figure.subplots().plot([1, 2])
    figures.show(figure, "  A line that rises\nfrom one to two. ")
    (output,) = shown
    assert output["metadata"] == {"image/png": {"alt": "A line that rises from one to two."}}
    assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
    assert "A line that rises" in output["data"]["text/plain"]


def test_show_draws_a_plot_that_stays_sharp(shown):
    """The same bytes each time, the PNG's size, letters of its own, nothing from elsewhere."""
    for seed in (3, 3):
        figure = Figure(figsize=(4, 2.5))
        axes = figure.subplots()
        axes.plot(np.random.default_rng(seed).random(50), "o-", label="a & b")
        axes.fill_between([0, 50], 0, 0.5)
        axes.legend()
        figures.show(figure, 'Fifty points of "noise", a < b & c, joined by a line.')
    first, again = (output["data"]["image/svg+xml"] for output in shown)
    assert first == again
    root = ElementTree.fromstring(first)
    picture = Image.open(io.BytesIO(base64.b64decode(shown[0]["data"]["image/png"])))
    assert (int(root.get("width")), int(root.get("height"))) == picture.size == (480, 300)
    assert root.get("role") == "img" and root.get("aria-label").startswith("Fifty points of")
    names = {element.tag.rsplit("}")[-1] for element in root.iter()}
    assert "path" in names and not names & {"text", "image", "metadata", "script"}
    links = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', first)
    assert links and all("".join(link).startswith("#") for link in links)
    assert not re.search(r"20\d\d-\d\d", first)
    ground = next(path for path in root.iter() if path.tag.endswith("path"))
    assert "fill: #ffffff" in ground.get("style")  # readable in the dark


@pytest.mark.parametrize("kind", ["image", "mesh", "heavy", "rastered"])
def test_show_keeps_pixels_and_what_is_heavy_as_png_alone(shown, kind):
    figure, random = Figure(), np.random.default_rng(0)
    axes = figure.subplots()
    if kind == "image":
        axes.imshow(random.random((9, 9)))
    elif kind == "mesh":
        axes.pcolormesh(random.random((9, 9)))
    else:
        axes.plot(random.random(9000), "o", rasterized=kind == "rastered")
    figures.show(figure, "What is made of pixels, or weighs too much.")
    assert set(shown[0]["data"]) == {"image/png", "text/plain"}


def test_a_drawing_looks_like_its_pixels(chromium, shown):
    figure = Figure(figsize=(4, 2.5))
    axes = figure.subplots()
    axes.bar(range(5), [3, 1, 4, 1, 5])
    axes.set(title="Bars", xlabel="x", ylabel="height")
    figures.show(figure, "Five bars of different heights, for comparison.")
    data = shown[0]["data"]
    tab = chromium.new_page(viewport={"width": 480, "height": 300})
    code = base64.b64encode(data["image/svg+xml"].encode()).decode()
    tab.set_content(
        f'<body style="margin:0;background:#123"><img src="data:image/svg+xml;base64,{code}">'
    )
    tab.wait_for_function("() => document.images[0].complete")
    seen, drawn = (
        np.asarray(Image.open(io.BytesIO(content)).convert("L"), float)
        for content in (tab.screenshot(), base64.b64decode(data["image/png"]))
    )
    tab.close()
    assert seen.shape == drawn.shape and drawn.std() > 30
    assert np.corrcoef(seen.ravel(), drawn.ravel())[0, 1] > 0.95


def test_show_lays_out_a_readers_own_figure(shown):
    figure = Figure(figsize=(3, 2))
    figure.subplots().set_xlabel("a label that would be cut off at the bottom")
    figures.show(figure, "An empty plot whose label stays inside the picture.")
    bottom = figure.axes[0].xaxis.label.get_window_extent().y0
    assert bottom >= 0 and figure.get_layout_engine() is not None


@pytest.mark.parametrize("alt", ["", None, "   ", "a figure", "figure 1: loss"])
def test_show_refuses_an_alternative_text_that_says_nothing(shown, alt):
    with pytest.raises(ValueError, match="alternative text"):
        figures.show(Figure(), alt)
    assert not shown


def test_a_slice_is_drawn_with_left_on_the_left_and_front_on_top():
    image = np.zeros((20, 30))
    image[15, 25] = 1  # right and front
    figure = Figure()
    axes = figure.subplots()
    figures.slice_overlay(axes, image, grey=(0, 1))
    drawn = axes.images[0].get_array()
    assert drawn[25, 15] == 1 and drawn.shape == (30, 20)
    assert axes.images[0].origin == "lower"
    assert [text.get_text() for text in axes.texts] == ["L", "R"]


def test_overlay_shows_truth_and_prediction_in_their_colours():
    image = np.full((20, 20), 50.0)
    truth, prediction = np.zeros((20, 20)), np.zeros((20, 20, 1))
    truth[2:10, 5:15], prediction[6:16, 5:15] = 1, 1
    figure = Figure()
    axes = figure.subplots()
    figures.slice_overlay(axes, image, truth, prediction)
    fills = [picture.get_array() for picture in axes.images[1:]]
    assert [tuple(fill[10, 8, :3]) for fill in fills] == [
        to_rgba(figures.TRUTH)[:3],
        to_rgba(figures.PREDICTION)[:3],
    ]
    assert fills[0][10, 12, 3] == 0 and fills[1][10, 3, 3] == 0
    assert all(fill[..., 3].max() < 0.5 for fill in fills)  # the tissue stays visible


def test_overlay_takes_empty_and_full_masks_without_a_warning(recwarn):
    figure = Figure()
    axes = figure.subplots()
    figures.slice_overlay(axes, np.zeros((8, 8)), np.zeros((8, 8)), np.ones((8, 8)))
    pixels(figure)
    assert not [warning for warning in recwarn if warning.category is UserWarning]


@pytest.mark.parametrize(
    "image, mask",
    [(np.zeros(5), None), (np.zeros((4, 4, 4)), None), (np.zeros((4, 4)), np.zeros((4, 5)))],
)
def test_overlay_says_which_shape_is_wrong(image, mask):
    with pytest.raises(ValueError, match="shape"):
        figures.slice_overlay(Figure().subplots(), image, mask)


def test_window_leaves_out_background_and_outliers():
    image = np.zeros((50, 50))
    image[10:40, 10:40] = np.linspace(50, 150, 900).reshape(30, 30)
    image[20, 20] = 1e6
    low, high = figures.window(image)
    assert low == 0 and 140 < high < 151
    image[0, 0] = np.nan
    assert np.isfinite(figures.window(image)).all()
    for flat in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), 7.0)):
        low, high = figures.window(flat)
        assert low < high


def test_three_planes_cut_through_the_lesion(head):
    image, mask = head
    figure = figures.three_planes(image, mask)
    assert {"axial, z = 20", "coronal, y = 30", "sagittal, x = 10"} <= set(texts(figure))
    axial, coronal, sagittal = (axes.images[0].get_array() for axes in figure.axes)
    np.testing.assert_array_equal(axial, image[:, :, 20].T)
    np.testing.assert_array_equal(coronal, image[:, 30].T)
    np.testing.assert_array_equal(sagittal, image[10].T)
    assert texts(figure).count("L") == 2 and "A" in texts(figure)
    assert "true lesion" in texts(figure)
    assert "true lesion" not in texts(figures.three_planes(image))


def test_three_planes_shows_a_millimetre_equally_long(head):
    figure = figures.three_planes(*head, spacing=(1, 1, 3))
    pixels(figure)
    lengths = []
    for axes, (across, up) in zip(figure.axes, ((1, 1), (1, 3), (1, 3))):
        origin, right, top = axes.transData.transform([(0, 0), (1, 0), (0, 1)])
        lengths += [(right - origin)[0] / across, (top - origin)[1] / up]
    assert max(lengths) / min(lengths) < 1.05


def test_a_hollow_lesion_is_cut_where_it_is():
    mask = np.zeros((21, 21, 21))
    mask[5, 5, 5] = mask[15, 15, 15] = 1
    assert _brains._middle(mask, mask) in {(5, 5, 5), (15, 15, 15)}


def test_gallery_shows_each_image_with_its_title(head):
    image, mask = head
    slices = [image[:, :, z] for z in (18, 20, 22)]
    masks = [mask[:, :, z] for z in (18, 20, 22)]
    figure = figures.gallery(slices, masks, masks, titles=["a", "b", "c"], columns=2)
    assert {"a", "b", "c", "true lesion", "predicted lesion"} <= set(texts(figure))
    assert [axes.axison for axes in figure.axes] == [True] * 3 + [False]
    with pytest.raises(ValueError, match="predictions has 2"):
        figures.gallery(slices, masks, masks[:2])
    with pytest.raises(ValueError, match="at least one"):
        figures.gallery([], [])


def history(epochs, scale=1.0):
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": scale / epoch,
            "val_loss": scale / epoch + 0.1,
            "val_dice": 1 - 1 / epoch,
        }
    )


def test_learning_curves_draw_what_was_recorded():
    figure = figures.learning_curves({"Ken": history(5), "U-Net": history(5, 2)})
    loss, dice = figure.axes
    assert [line.get_label() for line in loss.lines] == [
        "Ken, training",
        "Ken, validation",
        "U-Net, training",
        "U-Net, validation",
    ]
    np.testing.assert_allclose(loss.lines[2].get_ydata(), 2 / np.arange(1, 6))
    assert [line.get_label() for line in dice.lines] == ["Ken, validation", "U-Net, validation"]
    assert loss.lines[0].get_color() != loss.lines[2].get_color()
    assert dice.get_ylim() == (0, 1)
    single = figures.learning_curves(history(1))
    assert [line.get_label() for line in single.axes[0].lines] == ["training", "validation"]
    with pytest.raises(ValueError, match="loss"):
        figures.learning_curves(pd.DataFrame({"epoch": [1]}))


# --- Charts --------------------------------------------------------------------------------------


def test_volume_histogram_holds_every_volume():
    volumes = [0, 0.5, 1, 2, 4, 300]
    figure = figures.volume_histogram(volumes)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert sum(bar.get_height() for bar in axes.patches) == 5
    assert {"5 lesion volumes, and 1 of zero", "median 2 ml"} <= set(texts(figure))
    assert sum(bar.get_height() for bar in figures.volume_histogram([7.0]).axes[0].patches) == 1
    with pytest.raises(ValueError, match="above zero"):
        figures.volume_histogram([0, 0])


def test_slices_with_lesion_sorts_subjects_and_sums_heights():
    present = np.zeros((3, 10), bool)
    present[0, 2:8], present[1, 4], present[2, 3:5] = True, True, True
    each, share = figures.slices_with_lesion(present).axes
    assert list(each.images[0].get_array().sum(axis=0)) == [1, 2, 6]
    np.testing.assert_allclose(share.patches[0].get_data().values[[0, 3, 4]], [0, 200 / 3, 100])


def test_class_imbalance_names_each_share():
    figure = figures.class_imbalance({"whole volume": 0.002, "window": 0.0, "odd": 0.75})
    assert {"0.20% lesion, 1 in 500", "0.00% lesion", "75.00% lesion", "whole volume"} <= set(
        texts(figure)
    )
    lesion = [bar.get_width() for bar in figure.axes[0].containers[1]]
    np.testing.assert_allclose(lesion, [0.2, 0, 75])


def test_overlap_map_shows_the_most_along_each_line_of_sight(head):
    image, mask = head
    counts = mask.astype(int)
    counts[10, 30, 20] = 7
    figure = figures.overlap_map(counts, image)
    axial = figure.axes[0].images[1].get_array()
    assert axial.max() == 7 and axial[30, 10] == 7
    assert axial.mask[0, 0] and (~axial.mask).sum() == mask.any(axis=2).sum()
    assert any("subjects with lesion here" in text for text in texts(figure))
    with pytest.raises(ValueError, match="one shape"):
        figures.overlap_map(counts[1:], image)


def test_gradient_norms_leave_zeros_out():
    figure = figures.gradient_norms({"plain": [1, 0.1, 0], "residual": [1, 0.9, 0.8]})
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert np.isnan(axes.lines[0].get_ydata()[2]) and axes.lines[0].get_ydata()[1] == 0.1
    assert len({line.get_marker() for line in axes.lines}) == 2
    assert {"plain", "residual"} <= set(texts(figure))


def test_dice_by_size_draws_subjects_and_medians_of_thirds():
    table = pd.DataFrame(
        {
            "truth_volume_ml": [0, 1, 2, 4, 8, 16, 32, 64],
            "dice": [1, 0.1, 0.3, np.nan, 0.4, 0.6, 0.8, 1.0],
        }
    )
    (axes,) = figures.dice_by_size(table).axes
    assert len(axes.collections[0].get_offsets()) == 6
    np.testing.assert_allclose([line.get_ydata()[0] for line in axes.lines], [0.2, 0.5, 0.9])
    assert not figures.dice_by_size(table[:4]).axes[0].lines
    with pytest.raises(ValueError, match="above zero"):
        figures.dice_by_size(table[:1])
    kinds = figures.dice_by_size(table.assign(kind=[*"aabbccab"]), group="kind")
    assert {"a", "b", "c", "median of a third of the lesions"} <= set(texts(kinds))
    looks = [
        (dots.get_facecolor().tobytes(), len(dots.get_paths()[0]))
        for dots in kinds.axes[0].collections
    ]
    assert len({colour for colour, _ in looks}) == len({form for _, form in looks}) == 3
    assert [len(dots.get_offsets()) for dots in kinds.axes[0].collections] == [2, 2, 2]
    with pytest.raises(ValueError, match="kind has 7 values: 6"):
        figures.dice_by_size(table.fillna(0.5).assign(kind=range(8)), group="kind")


def test_bars_with_intervals_sort_and_bear_missing_intervals():
    table = pd.DataFrame(
        {
            "network": ["b", "a", "c"],
            "mean": [0.6, 0.4, 0.5],
            "low": [0.5, 0.3, None],
            "high": [0.7, 0.5, None],
        }
    )
    (axes,) = figures.bars_with_intervals(table, label="network").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "c", "b"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.4, 0.5, 0.6])
    assert [text.get_text() for text in axes.texts] == ["0.40", "0.50", "0.60"]
    (unsorted,) = figures.bars_with_intervals(table.set_index("network"), sort=False).axes
    assert [tick.get_text() for tick in unsorted.get_yticklabels()] == ["c", "a", "b"]


def test_reduction_comparison_takes_one_method_or_several():
    table = pd.DataFrame(
        {
            "reduction": ["per slice", "per subject", "pooled"],
            "mean": pd.array([0.5, 0.4, 0.6], dtype="Float64"),
            "low": pd.array([0.4, 0.3, pd.NA], dtype="Float64"),
            "high": pd.array([0.6, 0.5, pd.NA], dtype="Float64"),
        }
    )
    (axes,) = figures.reduction_comparison(table).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "per slice",
        "per subject",
        "pooled",
    ]
    assert list(axes.lines[0].get_ydata()) == [2, 1, 0]
    both = figures.reduction_comparison({"Ken": table, "U-Net": table})
    assert {"Ken", "U-Net"} <= set(texts(both)) and len(both.axes[0].lines) == 2


# --- Windows -------------------------------------------------------------------------------------


def test_crop_and_pad_draws_the_window_where_it_is(head):
    image, mask = (array[:, :, 20] for array in head)
    placement = slices.Placement(top=3, left=20, height=20, width=24, shape=image.shape)
    figure = figures.crop_and_pad(image, placement, 32, mask)
    whole, framed = figure.axes
    (box,) = whole.patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (2.5, 19.5, 20, 24)
    frame = framed.images[0].get_array()
    assert frame.shape == (32, 32)
    np.testing.assert_array_equal(frame[4:28, 6:26], image[3:23, 20:44].T)
    assert (
        frame.mask[:4].all() and frame.mask[:, :6].all()
        if np.ma.is_masked(frame)
        else (np.isnan(frame[:4]).all() and np.isnan(frame[:, :6]).all())
    )
    assert {"window, 20×24", "padding, 4 or 6 pixels a side", "true lesion"} <= set(texts(figure))
    with pytest.raises(ValueError, match="does not fit"):
        figures.crop_and_pad(image, placement, 20)


def test_crop_and_pad_agrees_with_the_package(head):
    image, mask = (array[:, :, 20] for array in head)
    window, placement = slices.crop(image, slices.lesion_centre(mask), 25)
    drawn = figures.crop_and_pad(image, placement, 32).axes[1].images[0].get_array()
    np.testing.assert_array_equal(
        np.nan_to_num(np.ma.filled(drawn, np.nan), nan=-1), slices.pad(window, 32, fill=-1).T
    )


# --- All -----------------------------------------------------------------------------------------


def test_every_figure_is_white_with_readable_letters(head):
    image, mask = head
    for figure in (
        figures.three_planes(image, mask),
        figures.learning_curves(history(3)),
        figures.gallery([image[:, :, 20]], [mask[:, :, 20]]),
        figures.overlap_map(mask, image),
        figures.volume_histogram([1, 2, 3]),
        figures.class_imbalance({"a": 0.1}),
        figures.halving_ladder(),
    ):
        assert min(font_sizes(figure)) >= 9
        assert (pixels(figure)[0, 0] == 255).all()


def test_a_figure_leaves_the_readers_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.learning_curves(history(2))
    assert dict(matplotlib.rcParams) == before


def test_sides_are_marked_in_both_corners():
    axes = Figure().subplots()
    figures.mark_sides(axes)
    left, right = axes.texts
    assert (left.get_text(), right.get_text()) == ("L", "R")
    assert left.get_position()[0] < 0.1 and right.get_position()[0] > 0.9
