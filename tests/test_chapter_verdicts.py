"""Each verdict of the chapters flips when its numbers do: their claims cells, on made-up numbers.

The cells are run as they stand in the notebooks, in a namespace that holds what the chapter would
have measured by then.
"""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from kenseg_utils import evaluation, machine
from kenseg_utils.evaluation import statistics
from kenseg_utils.experiments import ablation, lineup, pairs
from kenseg_utils.phantom import lesion_statistics
from kenseg_utils.teaching import claims

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
INCONSISTENT, UNTESTABLE = "contradicts itself", "cannot be tested here"


@pytest.fixture
def record(monkeypatch):
    """Run a chapter's claims cells in a namespace, and return its claims by name."""

    def run(chapter, names, change=lambda source: source):
        rows = {}

        def display(data, raw, metadata):
            row = json.loads(data[claims.RECORD])
            rows[row["name"]] = row

        monkeypatch.setattr(claims, "display", display)
        (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
        space = dict(
            np=np,
            pd=pd,
            math=math,
            statistics=statistics,
            claims=claims,
            machine=machine,
            data_name="phantom ATLAS",
            data_root=None,
        )
        exec("import numpy", space | {"__name__": "chapter"})
        space |= names
        for cell in json.loads(path.read_text())["cells"]:
            belongs = cell["id"].startswith(f"claims-{chapter}-") or "claims" in cell[
                "metadata"
            ].get("tags", [])
            if cell["cell_type"] == "code" and belongs:
                exec(change("".join(cell["source"])), space)
        for row in rows.values():
            told = " ".join((row["claim"], row["measured"], row["reason"]))
            assert not {"nan", "NaN", "None"} & set(told.replace(",", " ").split()), row
        return rows

    return run


def words(rows):
    return {name: row["word"] for name, row in rows.items()}


def interval(low, high, n=20):
    return statistics.Interval((low + high) / 2, low, high, 0.95, n, "t")


UNKNOWN = statistics.unknown("undefined: one subject", n=1, estimate=0.3)


# --- Chapter 1 -----------------------------------------------------------------------------------


def test_chapter_1(record):
    assert words(record("01", {})) == dict(atlas_304=CONTRADICTED, atlas_open=UNDECIDED)

    def had_it_been_so(source):
        return source.replace('"R2.0": 655', '"R2.0": 304').replace("1271", "304")

    assert record("01", {}, had_it_been_so)["atlas_304"]["word"] == SUPPORTED
    only_public = record("01", {}, lambda s: s.replace('"R2.0": 655', '"R2.0": 304'))
    assert only_public["atlas_304"]["word"] == UNDECIDED  # it depends on which scans are meant


# --- Chapter 2 -----------------------------------------------------------------------------------


def chapter_2(fitting=(188, 80), own=1.0, halvings=2):
    real = lesion_statistics.REAL_FITS_124
    return dict(
        real=real,
        fitting=[
            statistics.share_interval(k, n) for k, n in zip(fitting, real.subjects, strict=True)
        ],
        by_subject=pd.Series([True] * round(40 * own) + [False] * round(40 * (1 - own))),
        halvings=lambda side: halvings if side == 124 else 7,
        oracle=interval(0.2, 0.4),
    )


@pytest.mark.parametrize("fitting, word", [(188, UNDECIDED), (199, SUPPORTED), (170, CONTRADICTED)])
def test_real_masks_judge_the_window(record, fitting, word):
    row = record("02", chapter_2((fitting, 80)))["fits_124"]
    assert row["word"] == word and row["verdict"].endswith("real masks with ATLAS's volumes")


def test_real_scans_at_hand_come_before_other_peoples_masks(record):
    numbers = chapter_2((170, 80), own=1.0) | dict(data_root="/data/ATLAS", data_name="ATLAS_2")
    numbers["by_subject"] = pd.Series([True] * 400)
    assert record("02", numbers)["fits_124"]["verdict"] == "supported on ATLAS_2"


def test_chapter_2(record):
    found = words(record("02", chapter_2()))
    assert found == dict(
        fits_124=UNDECIDED, depth_of_4=CONTRADICTED, padding_4=UNDECIDED, oracle_crop=UNDECIDED
    )
    assert record("02", chapter_2(halvings=3))["depth_of_4"]["word"] == SUPPORTED
    three = record("02", chapter_2(), lambda source: source.replace("124 + 4", "124 + 5"))
    assert three["padding_4"]["word"] == CONTRADICTED


# --- Chapter 3 -----------------------------------------------------------------------------------

SETTINGS = ("Keras's default start", "He's start", "batch normalisation")


def chapter_3(plain, residual, farther, dilated=100, trained=None, farther_trained=None):
    def counted(number):
        return SimpleNamespace(count_params=lambda: number)

    def orders(plain, residual):
        return {
            f"{kind}, {name}": interval(value - 0.3, value + 0.3)
            for kind, values in (("plain", plain), ("residual", residual))
            for name, value in zip(SETTINGS, values, strict=True)
        }

    return dict(
        orders=orders(plain, residual),
        orders_trained=orders(*trained) if trained else {},
        farther_trained=farther_trained or {},
        trained_halves={"full": [80, 82]} if farther_trained else {},
        deepest=32,
        halves={name: [66, 70] for name in ("no Ken block", "concatenated", "full")},
        farther=farther,
        before=264,
        models={("dilated", 512): counted(dilated), ("residual", 512): counted(100)},
        total={"Ken, concatenated": 5.5, "Ken, full": 23.0, "residual": 4.7},
    )


def both(low, high):
    return dict(concatenated=interval(low, high), full=interval(low, high))


@pytest.mark.parametrize(
    "plain, residual, word",
    [
        ((-10, -0.5, 4.9), (1.5, 4.6, 1.3), UNDECIDED),  # as measured: it depends on the start
        ((-10, -9, -8), (1.5, 4.6, 1.3), SUPPORTED),
        ((2, 3, 4), (1.5, 4.6, 1.3), CONTRADICTED),
        ((-10, -9, -8), (-10, -9, -8), CONTRADICTED),
    ],
)
def test_whether_skips_save_the_gradient(record, plain, residual, word):
    rows = record("03", chapter_3(plain, residual, both(2, 6)))
    assert rows["vanishing_gradient"]["word"] == word
    assert (word == UNDECIDED) == (
        "what the paper does not say" in rows["vanishing_gradient"]["reason"]
    )


@pytest.mark.parametrize(
    "farther, word",
    [
        (both(2, 6), UNDECIDED),  # farther, but not by a cell
        (both(20, 30), SUPPORTED),
        (both(-9, -2), CONTRADICTED),
        (both(-3, 5), UNDECIDED),
        (dict(concatenated=UNKNOWN, full=UNKNOWN), UNDECIDED),
    ],
)
def test_whether_the_block_sees_far(record, farther, word):
    rows = record("03", chapter_3((-10, 0, 4), (1, 4, 1), farther))
    assert rows["long_range"]["word"] == word


def test_what_training_changes_counts_too(record):
    """A verdict that holds before training and not after depends on what the paper leaves open."""
    start = (-10, -9, -8), (1.5, 4.6, 1.3)
    kept = record("03", chapter_3(*start, both(20, 30), 100, start, both(20, 30)))
    assert {kept[name]["word"] for name in ("vanishing_gradient", "long_range")} == {SUPPORTED}
    assert "after training plain" in kept["vanishing_gradient"]["measured"]
    assert "trained, full: 81" in kept["long_range"]["measured"]
    lost = record("03", chapter_3(*start, both(20, 30), 100, ((0, 0, 0), start[1]), both(-9, -2)))
    assert {lost[name]["word"] for name in ("vanishing_gradient", "long_range")} == {UNDECIDED}


def test_a_training_in_which_no_gradient_is_left_decides_nothing(record):
    start = (-10, -9, -8), (1.5, 4.6, 1.3)
    names = chapter_3(*start, both(20, 30), 100, start, both(20, 30))
    names["orders_trained"]["plain, He's start"] = statistics.unknown("not known: none was left")
    row = record("03", names)["vanishing_gradient"]
    assert row["word"] == UNDECIDED and "after training plain, He" not in row["measured"]


def test_dilation_is_counted(record):
    numbers = (-10, 0, 4), (1, 4, 1), both(2, 6)
    assert record("03", chapter_3(*numbers))["dilation_parameters"]["word"] == CONTRADICTED
    fewer = record("03", chapter_3(*numbers, dilated=90))
    assert fewer["dilation_parameters"]["word"] == SUPPORTED
    assert fewer["ken_widths"]["word"] == UNDECIDED


# --- Chapter 4 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ken, full, word", [(20, 40, UNDECIDED), (5, 6, SUPPORTED), (50, 60, CONTRADICTED)]
)
def test_fewer_parameters_than_whom(record, ken, full, word):
    built = SimpleNamespace(sketch=lambda name, block: SimpleNamespace(count_params=lambda: 7))
    rows = record(
        "04",
        dict(
            rivals={"U-Net, narrow": 8, "UNet++": 9, "U-Net, wide": 30},
            ken=ken,
            full=full,
            networks=built,
            nodes=pd.DataFrame(index=["x00", "x01", "bottleneck"]),
        ),
    )
    assert rows["fewer_parameters"]["word"] == word
    assert rows["residual_or_dilated"]["word"] == INCONSISTENT
    assert rows["five_blocks"]["word"] == UNDECIDED


# --- Chapter 5 -----------------------------------------------------------------------------------


def chapter_5(learned=0.35, old=0.36, sixteen=0.77, apart=1e-7, n=16):
    """The recorded runs of the paper's recipe and the quick one, and two losses side by side."""
    epochs = pd.DataFrame(
        dict(steps=[10, 20, 30], val_dice=[0.3, 0.5, 0.4], val_loss=[0.3, 0.2, 0.4]),
        index=[1, 2, 3],
    )
    row = SimpleNamespace(batch=16, test_dice_per_subject=sixteen, epochs_meant=40)
    means = dict(paper=learned, paper_legacy_decay=old)

    def recorded_run(name):
        test = pd.DataFrame(dict(dice=scores_of(means[name], len(name), n)))
        return SimpleNamespace(decay=name), epochs, test

    keras = SimpleNamespace(
        losses=SimpleNamespace(
            sparse_categorical_crossentropy=lambda true, found: np.zeros(3),
            categorical_crossentropy=lambda true, found: np.full(3, apart),
        ),
        ops=SimpleNamespace(convert_to_numpy=np.asarray),
    )
    provenance = dict(data=dict(what="phantom ATLAS, some subjects"))
    quick, paper = (
        pd.DataFrame(dict(dice=scores_of(mean, k, n))) for k, mean in enumerate((sixteen, learned))
    )
    return dict(
        recorded=SimpleNamespace(provenance=provenance),
        recorded_run=recorded_run,
        last=epochs.iloc[-1],
        lowest=2,
        best_epoch=2,
        paper_epochs=epochs,
        paper_run=row,
        quick_run=row,
        quick_test=quick,
        changed=statistics.paired_test(recorded_run("paper_legacy_decay")[2].dice, paper.dice),
        few=SimpleNamespace(batch=lambda places: (None, np.zeros((2, 2), int))),
        training=SimpleNamespace(predict=lambda *given: None),
        run=SimpleNamespace(model=None),
        decayed=lambda rate: np.zeros(4),
        reference=np.zeros(4),
        keras=keras,
    )


def test_chapter_5(record):
    found = words(record("05", chapter_5()))
    assert found == dict(
        rate_converges=SUPPORTED,
        weight_decay=UNDECIDED,  # three algorithms have that name
        batch_of_one=CONTRADICTED,
        no_one_hot=SUPPORTED,
        more_epochs=UNDECIDED,  # one seed
    )
    assert "one seed" in record("05", chapter_5())["more_epochs"]["reason"]


def test_chapter_5_flips_with_its_numbers(record):
    assert words(record("05", chapter_5(apart=1e-3)))["no_one_hot"] == CONTRADICTED
    assert words(record("05", chapter_5(sixteen=0.0)))["batch_of_one"] != CONTRADICTED
    assert words(record("05", chapter_5(learned=0.02)))["rate_converges"] == UNDECIDED
    one = words(record("05", chapter_5(n=1)))
    assert one["rate_converges"] == one["batch_of_one"] == UNDECIDED


# --- Chapter 6 -----------------------------------------------------------------------------------


def chapter_6(pixels=100, width=(0.25, 0.39), mean=None):
    values = np.array([0.5, 0.6, 0.7])
    return dict(
        area=pd.Series([pixels]),
        ranges={"any slices": np.array([0.4, 0.7])},
        by_slice=pd.DataFrame(dict(dice=values)),
        by_subject=pd.DataFrame(dict(dice=values)),
        values=values,
        interval=mean or interval(0.5, 0.7, 3),
        published=interval(*width),
        images_of_paper=15,
    )


@pytest.mark.parametrize(
    "width, word",
    [((0.25, 0.39), SUPPORTED), ((0.01, 0.08), CONTRADICTED), ((0.05, 0.2), UNDECIDED)],
)
def test_chapter_6(record, width, word):
    rows = record("06", chapter_6(width=width))
    assert rows["small_test"]["word"] == word
    assert words(rows) | dict(small_test=word) == dict(
        dice_printed=INCONSISTENT, dice_prose=INCONSISTENT, dice_07=UNTESTABLE, small_test=word
    )


def test_a_formula_that_can_give_the_score_does_not_contradict_it(record):
    rows = record("06", chapter_6(pixels=1))  # one pixel: 1 / (1 · 1) = 1
    assert rows["dice_prose"]["word"] == SUPPORTED and rows["dice_printed"]["word"] == INCONSISTENT


def test_one_subject_is_no_crash_in_chapter_6(record):
    rows = record("06", chapter_6(mean=UNKNOWN))
    assert "undefined: one subject" in rows["dice_07"]["measured"]


# --- Chapter 7 -----------------------------------------------------------------------------------

NAMES = ("thresholding region_growing edge_detection graph_cut level_set svm random_forest").split()


def scores_of(mean, seed, n=40, spread=0.05):
    noise = np.random.default_rng(seed).normal(0, spread, n)
    return pd.Series(mean + noise - noise.mean(), index=[f"s{k:02}" for k in range(n)], name="dice")


def chapter_7(noise=-0.2, learned=0.2, n=40):
    curves = {
        name: [scores_of(0.5, k, n), scores_of(0.5 + noise, 90 + k, n)]
        for k, name in enumerate(NAMES)
    }
    means = dict.fromkeys(NAMES, 0.3) | dict(svm=0.3 + learned, random_forest=0.3 + learned)

    def result(name, seed):
        table = scores_of(means[name], seed, n).rename_axis("subject").reset_index()
        twice = table.head(5)  # some people were scanned in two sessions
        return None, evaluation.SliceScores(slices=table, subjects=pd.concat([table, twice]))

    return dict(
        curves=curves,
        noises=(0, 0.5, 1),
        models=dict(svm=[], random_forest=[]),
        classical=SimpleNamespace(names=lambda: NAMES),
        results={name: result(name, 50 + k) for k, name in enumerate(NAMES)},
    )


@pytest.mark.parametrize("change, word", [(-0.2, CONTRADICTED), (0.2, SUPPORTED), (0.0, UNDECIDED)])
def test_chapter_7(record, change, word):
    rows = record("07", chapter_7(noise=-change, learned=change))
    assert words(rows) == dict(classical_noise=word, learned_features=word)


def test_one_subject_and_equal_scores_are_undecided_in_chapter_7(record):
    assert set(words(record("07", chapter_7(n=1))).values()) == {UNDECIDED}
    same = chapter_7()
    for name in NAMES:
        same["curves"][name][-1] = same["curves"][name][0]
        same["results"][name] = same["results"]["thresholding"]
    assert set(words(record("07", same)).values()) == {UNDECIDED}


# --- Chapter 8 -----------------------------------------------------------------------------------


def luck(*seed):
    """What another seed changes in a training's mean."""
    return np.random.default_rng(seed).normal(0, 0.005)


def lineup_scores(means, n=40, seeds=5):
    rows = [
        dict(name=name, fold=0, seed=s, subject=subject, dice=float(np.clip(dice, 0, 1)), error="")
        for k, name in enumerate(lineup.MEMBERS)
        if name in means
        for s in range(seeds)
        for subject, dice in scores_of(means[name] + luck(s, k), 20 * s + k, n, spread=0.04).items()
    ]
    return pd.DataFrame(rows)


def chapter_8(means=None, gains=(0.1, 0.1, 0.1), sizes=(15, 8, 31), n=40, seeds=5, **changed):
    means = dict.fromkeys(lineup.MEMBERS, 0.4) | (means or {})
    means = {name: mean for name, mean in means.items() if mean is not None}
    scores = lineup_scores(means, n, seeds)
    counts = [1, 4, 16]
    starts = ("pre-trained", "from scratch, as many steps in all")
    transfer = pd.DataFrame(
        [
            dict(
                subjects=count,
                draw=draw,
                start=start,
                dice=scores_of(
                    0.3 + gain * (start == starts[0]) + luck(draw, k, j), 99 * draw + 7 * k + j, n
                ).to_numpy(),
            )
            for k, (count, gain) in enumerate(zip(counts, gains, strict=True))
            for draw in range(seeds)
            for j, start in enumerate(starts)
        ]
    )

    def sketch(name, widths=(0,)):
        number = sizes[0] if name == "xnet" else sizes[1] if widths[0] == 32 else sizes[2]
        return SimpleNamespace(count_params=lambda: number * 1_000_000)

    ranking = lineup.ranking(scores)
    return (
        dict(
            lineup=lineup,
            recorded=None,
            recorded_ranking=ranking.head(0),
            ranking=ranking,
            scores=scores,
            means_of=ranking.set_index("name")["mean"],
            transfer=transfer,
            counts=counts,
            networks=SimpleNamespace(sketch=sketch),
            keras=SimpleNamespace(utils=SimpleNamespace(clear_session=lambda: None)),
            PAPER={"A": 0.4741, "B": 0.2767, "Proposed net": 0.7},
        )
        | changed
    )


KEN, SIX = lineup.REFERENCE, [n for n, m in lineup.MEMBERS.items() if m.paper_row]


@pytest.mark.parametrize(
    "ken, existing, six",
    [
        (0.8, SUPPORTED, SUPPORTED),
        (0.5, SUPPORTED, CONTRADICTED),  # better, and not by so much
        (0.4, UNDECIDED, CONTRADICTED),
        (0.2, CONTRADICTED, CONTRADICTED),
    ],
)
def test_the_ken_model_beside_the_others(record, ken, existing, six):
    found = words(record("08", chapter_8({KEN: ken})))
    assert (found["better_than_existing"], found["six_baselines"]) == (existing, six)


def test_the_place_in_the_claim_is_that_of_the_ranking(record):
    means = {name: 0.1 + 0.05 * k for k, name in enumerate(lineup.MEMBERS)}
    for ken in (0.02, 0.33, 0.9):
        numbers = chapter_8(means | {KEN: ken})
        said = record("08", numbers)["better_than_existing"]["measured"]
        place = list(numbers["ranking"].name).index(KEN) + 1
        assert said.startswith(f"number {place} of 11 (this page") and place >= 1


@pytest.mark.parametrize("rivals, word", [(0.2, SUPPORTED), (0.6, CONTRADICTED), (0.4, UNDECIDED)])
def test_d_unet_beside_two_dimensional_networks(record, rivals, word):
    numbers = chapter_8(dict.fromkeys(lineup.MEMBERS, rivals) | dict(dunet=0.4))
    assert record("08", numbers)["dunet"]["word"] == word


def test_all_two_dimensional_networks_are_asked_beside_d_unet(record):
    """It is ahead of U-Net, SegNet and FCN-8s, and one that nobody had named is ahead of it."""
    numbers = chapter_8(dict.fromkeys(lineup.MEMBERS, 0.2) | dict(dunet=0.4, resunet=0.6))
    row = record("08", numbers)["dunet"]
    assert row["word"] == CONTRADICTED and "10 networks of one slice" in row["measured"]


def test_one_seed_decides_nothing_between_two_ways_of_training(record):
    """Whatever the intervals over subjects say: another seed would give other networks."""
    numbers = chapter_8({KEN: 0.9, "dunet": 0.95, "xnet": 0.9}, sizes=(5, 8, 31), seeds=1)
    rows = record("08", numbers)
    assert set(words(rows).values()) == {UNDECIDED}
    for name in ("better_than_existing", "six_baselines", "dunet", "transfer"):
        assert "not known: one seed; over subjects alone +0." in rows[name]["reason"], name


@pytest.mark.parametrize(
    "xnet, sizes, word",
    [
        (0.6, (5, 8, 31), SUPPORTED),
        (0.6, (15, 8, 31), UNDECIDED),  # smaller than one U-Net, larger than the other
        (0.2, (5, 8, 31), CONTRADICTED),
        (0.6, (50, 8, 31), CONTRADICTED),
    ],
)
def test_x_net_is_to_be_smaller_and_better(record, xnet, sizes, word):
    assert record("08", chapter_8(dict(xnet=xnet), sizes=sizes))["xnet"]["word"] == word


@pytest.mark.parametrize(
    "gains, word",
    [
        ((0.1, 0.1, 0.1), SUPPORTED),
        ((0.1, -0.1, -0.1), CONTRADICTED),  # which the page once called "holds"
        ((0.1, 0.1, 0.0), UNDECIDED),
    ],
)
def test_pre_training_must_help_at_each_number_of_labels(record, gains, word):
    assert record("08", chapter_8(gains=gains))["transfer"]["word"] == word


def test_a_collapsed_or_failed_training_proves_nothing(record):
    dead = record("08", chapter_8({KEN: 0.8, "unet": 0.001}))
    assert dead["better_than_existing"]["word"] == UNDECIDED
    assert "all trainings of U-Net collapsed" in dead["better_than_existing"]["reason"]
    gone = record("08", chapter_8({"dunet": 0.8, "unet": None, "xnet": None}))
    assert gone["dunet"]["word"] == UNDECIDED and gone["xnet"]["word"] == UNDECIDED
    assert "X-Net has no scores" in gone["xnet"]["reason"]


def test_one_subject_is_undecided_in_chapter_8(record):
    found = words(record("08", chapter_8({KEN: 0.8}, n=1)))
    assert set(found.values()) == {UNDECIDED}


def test_the_recorded_comparison_decides_where_there_is_one(record):
    live, longer = chapter_8({KEN: 0.8}), chapter_8({KEN: 0.2})
    tables = dict(scores=longer["scores"])

    def judged(data):
        kept = SimpleNamespace(tables=tables, provenance=dict(data_name=data))
        return record("08", live | dict(recorded=kept, recorded_ranking=longer["ranking"]))

    rows = judged("phantom ATLAS")
    assert rows["better_than_existing"]["word"] == CONTRADICTED
    assert rows["better_than_existing"]["measured"].startswith("number 11 of 11 (recorded")
    assert rows["better_than_existing"]["measured"].endswith("number 1 of 11 on this page")
    own = judged("other data")["better_than_existing"]
    assert own["word"] == SUPPORTED and own["measured"].startswith("number 1 of 11 (this page")


def test_what_a_page_did_not_train_is_not_known_without_a_record(record):
    live = dict.fromkeys(lineup.SCALES["demo"].live, 0.4) | {KEN: 0.8}
    found = record("08", chapter_8({name: live.get(name) for name in lineup.MEMBERS}))
    assert found["xnet"]["word"] == found["six_baselines"]["word"] == UNDECIDED
    assert "X-Net has no scores" in found["xnet"]["reason"]


# --- Chapter 9 -----------------------------------------------------------------------------------

ARMS = dict(  # each claim, the arm that it credits, and what it is credited against
    ken_block_helps=(ablation.BASE, ablation.WITHOUT_KEN),
    wide_last_layer=("last width: × 8", ablation.BASE),
    dense_skips=("network: UNet++", "network: U-Net"),
    residual_helps=(ablation.BASE, "block: plain"),
    dilated_helps=("block: dilated", "block: plain"),
    loss_choice=("loss: cross-entropy", ablation.BASE),
)


def chapter_9(means=None, seeds=5, n=14):
    """Recorded scores in which every arm has the same mean, but for `means`."""
    names = {name for pair in ARMS.values() for name in pair}
    names |= {"optimiser: RMSprop", "widths: 8 … 256", "widths: 2 … 64"}
    rows = [
        dict(name=name, fold=0, seed=s, subject=subject, dice=dice, error="")
        for k, name in enumerate(sorted(names))
        for s in range(seeds)
        for subject, dice in scores_of(
            (means or {}).get(name, 0.5) + luck(s, k), 30 * s + k, n, 0.04
        ).items()
    ]
    about = dict(finished="2026-01-01T00:00:00Z", profile="demo", data_name="phantom ATLAS")
    result = SimpleNamespace(tables=dict(scores=pd.DataFrame(rows)), provenance=about)
    return dict(recorded=dict(made=result), pairs=pairs, ablation=ablation, Claim=statistics.Claim)


@pytest.mark.parametrize("claim, arm, other", [(name, *pair) for name, pair in ARMS.items()])
def test_each_credited_part_of_chapter_9_is_judged_by_its_own_two_arms(record, claim, arm, other):
    for arm_mean, other_mean, word in (
        (0.7, 0.5, SUPPORTED),
        (0.5, 0.7, CONTRADICTED),
        (0.5, 0.5, UNDECIDED),
    ):
        rows = record("09", chapter_9({arm: arm_mean, other: other_mean}))
        assert rows[claim]["word"] == word, (claim, arm_mean, other_mean)


def test_one_seed_decides_nothing_in_chapter_9(record):
    rows = record("09", chapter_9({arm: 0.8 for arm, _ in ARMS.values()}, seeds=1))
    assert {rows[name]["word"] for name in ARMS} == {UNDECIDED}
    assert "one seed" in rows["ken_block_helps"]["reason"]


@pytest.mark.parametrize("mean, word", [(0.0, SUPPORTED), (0.5, CONTRADICTED)])
def test_what_cannot_be_trained_is_counted_by_collapses(record, mean, word):
    rows = record("09", chapter_9({"widths: 8 … 256": mean, "widths: 2 … 64": mean}, seeds=10))
    assert rows["six_levels"]["word"] == rows["narrow_fails"]["word"] == word
    few = record("09", chapter_9({"widths: 8 … 256": mean}, seeds=2))
    assert few["six_levels"]["word"] == UNDECIDED


# --- Chapter 10 ----------------------------------------------------------------------------------


def chapter_10(
    noise=-0.2, fixed=-0.2, own=0.0, others=-0.3, training=0.2, n=20, clean=0.5, unharmed=(0.5, 0.5)
):
    def change(method, kind, strength, family=1):
        size = {"noise": noise, "gain": fixed if method == "fixed" else own}.get(kind, others)
        after, before = scores_of(0.5 + size, 3, n, 0.02), scores_of(0.5, 4, n, 0.02)
        return statistics.paired_test(after, before, statistics.family_level(family)), clean

    def gain_of_training(kind, strength):
        without, with_all = scores_of(0.4, 5, n, 0.02), scores_of(0.4 + training, 6, n, 0.02)
        return without, with_all, statistics.paired_test(with_all, without).difference

    strengths = dict.fromkeys(("noise", "bias field", "blur", "ghosting"), (0, 0.5, 1))
    return dict(
        change=change,
        gain_of_training=gain_of_training,
        unharmed=pd.Series(unharmed),
        own="own",
        fixed="fixed",
        strengths=strengths,
    )


def run_10(record, **numbers):
    """Chapter 10's numbers stand in cells before the claims, and one of their functions too."""
    (path,) = (ROOT / "notebooks").glob("10_*.ipynb")
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    (helper,) = [cell for cell in cells if "def unless_collapsed" in cell]
    (before,) = [cell for cell in cells if "of_one_seed(unless_collapsed(" in cell]
    space = dict(statistics=statistics) | chapter_10(**numbers)
    exec(helper[helper.index("def unless_collapsed") :].split("\n\n\n")[0], space)
    exec(before, space)
    space.pop("__builtins__")
    return record("10", space)


@pytest.mark.parametrize(
    "numbers, expected",
    [
        (
            {},
            dict(
                noise_breaks=SUPPORTED,
                intensity_breaks=UNDECIDED,  # it depends on whether scans are normalised
                any_other_input=CONTRADICTED,
                noise_training=UNDECIDED,
            ),
        ),
        (
            dict(noise=0.2, fixed=0.2, own=0.2, others=0.1, training=-0.2),
            dict(
                noise_breaks=CONTRADICTED,
                intensity_breaks=CONTRADICTED,
                any_other_input=SUPPORTED,
                noise_training=UNDECIDED,
            ),
        ),
        (
            dict(noise=0.0, fixed=-0.2, own=-0.2, others=-0.02, training=0.0),
            dict(
                noise_breaks=UNDECIDED,
                intensity_breaks=SUPPORTED,
                any_other_input=UNDECIDED,
                noise_training=UNDECIDED,
            ),
        ),
        (
            dict(clean=0.01, unharmed=(0.5, 0.02)),  # collapsed: nothing is known
            dict.fromkeys(
                ("noise_breaks", "intensity_breaks", "any_other_input", "noise_training"), UNDECIDED
            ),
        ),
        (
            dict(n=1),
            dict.fromkeys(
                ("noise_breaks", "intensity_breaks", "any_other_input", "noise_training"), UNDECIDED
            ),
        ),
    ],
)
def test_chapter_10(record, numbers, expected):
    assert words(run_10(record, **numbers)) == expected


# --- Chapter 11 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gap, word",
    [
        (interval(0.2, 0.5), CONTRADICTED),
        (interval(-0.02, 0.03), SUPPORTED),
        (interval(0.0, 0.5), UNDECIDED),
        (UNKNOWN, UNDECIDED),
    ],
)
def test_chapter_11(record, gap, word):
    means = pd.Series({"oracle window": 0.7, "whole volume": 0.3})
    assert record("11", dict(gap=gap, means=means))["end_to_end"]["word"] == word


# --- All of them ---------------------------------------------------------------------------------


def test_no_chapter_decides_by_a_sign_or_a_typed_verdict():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            if "claims" in cell["metadata"].get("tags", []):
                assert "statistics.Verdict(" not in source, path.name
                for old in ("claims.HOLDS", "claims.FAILS", "claims.judged", "None)", "False)"):
                    assert old not in source.replace("verdict(None, None", ""), (path.name, old)
