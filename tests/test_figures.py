"""Figures: what is drawn where, in which colour, with which words."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure

from kenseg_utils import figures


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
    import base64

    figure = Figure()
    figure.subplots().plot([1, 2])
    figures.show(figure, "  A line that rises\nfrom one to two. ")
    output, = shown
    assert output["metadata"] == {"image/png": {"alt": "A line that rises from one to two."}}
    assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
    assert "A line that rises" in output["data"]["text/plain"]


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
        figures.to_rgba(figures.TRUTH)[:3], figures.to_rgba(figures.PREDICTION)[:3]]
    assert fills[0][10, 12, 3] == 0 and fills[1][10, 3, 3] == 0
    assert all(fill[..., 3].max() < 0.5 for fill in fills)  # the tissue stays visible


def test_overlay_takes_empty_and_full_masks_without_a_warning(recwarn):
    figure = Figure()
    axes = figure.subplots()
    figures.slice_overlay(axes, np.zeros((8, 8)), np.zeros((8, 8)), np.ones((8, 8)))
    pixels(figure)
    assert not [warning for warning in recwarn if warning.category is UserWarning]


@pytest.mark.parametrize("image, mask", [(np.zeros(5), None), (np.zeros((4, 4, 4)), None),
                                         (np.zeros((4, 4)), np.zeros((4, 5)))])
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
    assert figures._middle(mask, mask) in {(5, 5, 5), (15, 15, 15)}


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
    return pd.DataFrame({"epoch": epoch, "loss": scale / epoch, "val_loss": scale / epoch + 0.1,
                         "val_dice": 1 - 1 / epoch})


def test_learning_curves_draw_what_was_recorded():
    figure = figures.learning_curves({"Ken": history(5), "U-Net": history(5, 2)})
    loss, dice = figure.axes
    assert [line.get_label() for line in loss.lines] == [
        "Ken, training", "Ken, validation", "U-Net, training", "U-Net, validation"]
    np.testing.assert_allclose(loss.lines[2].get_ydata(), 2 / np.arange(1, 6))
    assert [line.get_label() for line in dice.lines] == ["Ken, validation", "U-Net, validation"]
    assert loss.lines[0].get_color() != loss.lines[2].get_color()
    assert dice.get_ylim() == (0, 1)
    single = figures.learning_curves(history(1))
    assert [line.get_label() for line in single.axes[0].lines] == ["training", "validation"]
    with pytest.raises(ValueError, match="loss"):
        figures.learning_curves(pd.DataFrame({"epoch": [1]}))


def test_every_figure_is_white_with_readable_letters(head):
    image, mask = head
    for figure in (figures.three_planes(image, mask), figures.learning_curves(history(3)),
                   figures.gallery([image[:, :, 20]], [mask[:, :, 20]])):
        assert min(font_sizes(figure)) >= 9
        assert (pixels(figure)[0, 0] == 255).all()


def test_a_figure_leaves_the_readers_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.learning_curves(history(2))
    assert dict(matplotlib.rcParams) == before
