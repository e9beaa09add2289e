"""The benchmark of devices: a row at a time, each bounded, saved as it comes."""

import json
import sys
import time
from dataclasses import asdict

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import bench_gpu  # noqa: E402

WIDTHS = (4, 8)
GPU = dict(device="GPU (test)", backend="jax", cores=16, commit="c0ffee")
BF16 = "mixed_bfloat16"


def told(row, **numbers):
    """What a row's process tells."""
    return asdict(row) | dict(provenance=GPU) | numbers


def quick(row, limit):
    """A stand-in for measuring: our networks do 300 images a second, MONAI's 100 and 150."""
    if row.network == "peak":
        return told(row, multiply_adds_per_second=1e6)
    rate = {"monai": 100.0, "monai_compiled": 150.0}.get(row.network, 300.0)
    forward = None if row.network in bench_gpu.THEIRS else 500
    return told(row, **bench_gpu.speeds(row, rate / row.batch, 7.0, forward))


def saved(folder, rows, measure=quick, deadline=float("inf"), widths=WIDTHS):
    path = folder / "device.json"
    bench_gpu.open_rows(rows, lambda about: path, widths, 60, deadline, measure)
    return json.loads(path.read_text())


def rows(networks=("unetpp", *bench_gpu.THEIRS), **options):
    return bench_gpu.rows_of(networks, [BF16], [1, 16], WIDTHS, 0.1, **options)


def test_each_row_is_printed_and_saved_before_the_next_begins(tmp_path, capsys):
    seen = []

    def measure(row, limit):
        path = tmp_path / "device.json"
        seen.append(len(json.loads(path.read_text())["rows"]) if path.exists() else 0)
        assert len(capsys.readouterr().out.splitlines()) == bool(seen[1:])
        return quick(row, limit)

    result = saved(tmp_path, rows(peaks=False), measure)
    assert seen == [0, 1, 2, 3, 4, 5] and len(result["rows"]) == 6
    assert result["provenance"] == GPU and result["widths"] == list(WIDTHS)


def test_ours_stand_beside_the_quicker_of_theirs_and_below_the_roof(tmp_path):
    result = saved(tmp_path, rows())
    assert result["ratio_to_monai"] == {f"{BF16}, batch 1": 2.0, f"{BF16}, batch 16": 2.0}
    shares = {row["network"]: row.get("share_of_matrix_peak") for row in result["rows"]}
    assert shares == {"unetpp": 3 * 500 * 300 / 1e6, "monai": None, "monai_compiled": None}
    assert result["matrix_peak_multiply_adds"] == {BF16: 1e6}
    days = bench_gpu.SLICES * bench_gpu.EPOCHS / 300 / 60
    assert result["rows"][0]["minutes_of_the_paper"] == pytest.approx(days)


def test_a_later_call_adds_to_what_the_same_device_and_widths_have(tmp_path):
    saved(tmp_path, rows(["unetpp"]))
    result = saved(tmp_path, rows(["monai"], peaks=False))
    assert [row["network"] for row in result["rows"]] == ["unetpp"] * 2 + ["monai"] * 2
    assert result["ratio_to_monai"][f"{BF16}, batch 16"] == 3.0
    assert result["rows"][0]["share_of_matrix_peak"] > 0
    failing = saved(tmp_path, rows(["unetpp"], peaks=False), lambda row, _: told(row, error="no"))
    assert "error" not in failing["rows"][0]  # what was measured stays
    other = saved(tmp_path, rows(["monai"], peaks=False), widths=(16,))
    assert [row["network"] for row in other["rows"]] == ["monai"] * 2


def test_a_row_that_fails_lets_the_others_go_on_and_time_ends_them(tmp_path, capsys):
    def measure(row, limit):
        assert limit <= 60
        if row.network == "unetpp":
            return told(row, error="exit status 1: out of memory")
        return quick(row, limit)

    result = saved(tmp_path, rows(), measure)
    assert ["error" in row for row in result["rows"]] == [True, False, False] * 2
    assert result["ratio_to_monai"] == {}
    assert (
        "unetpp, mixed_bfloat16, batch 1: exit status 1: out of memory" in capsys.readouterr().out
    )
    bench_gpu.open_rows(rows(), None, WIDTHS, 60, time.time() - 1, pytest.fail)
    assert "time is up: 7 rows are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import json; print('noise'); print('row: ' + json.dumps({'batch': 3}))", {"batch": 3}),
        (
            "import sys; print('CUDA is gone', flush=True); sys.exit(3)",
            "exit status 3: CUDA is gone",
        ),
        ("print('nothing of a row')", "exit status 0: nothing of a row"),
        ("import time; time.sleep(60)", "not done after 1 s"),
    ],
)
def test_a_row_has_a_process_and_a_time_of_its_own(tmp_path, monkeypatch, program, found):
    script = tmp_path / "script.py"
    script.write_text(program)
    monkeypatch.setattr(bench_gpu, "__file__", str(script))
    row = bench_gpu.Row("unetpp", "float32", 3, WIDTHS)
    limit = 1 if "sleep" in program else 60
    begun = time.monotonic()
    answer = bench_gpu.measure_apart(row, limit)
    assert time.monotonic() - begun < 50
    assert answer == (found if isinstance(found, dict) else asdict(row) | dict(error=found))


def test_compiling_and_running_are_measured_apart(monkeypatch):
    monkeypatch.setattr(bench_gpu, "SIDE", 16)
    found = bench_gpu.measure(bench_gpu.Row("unet", "float32", 2, WIDTHS, 0.05))
    assert found["compile_seconds"] > 1 / found["steps_per_second"]
    assert found["images_per_second"] == pytest.approx(2 * found["steps_per_second"])
    assert found["multiply_adds_forward"] > 0 and found["parameters"] > 0
    assert found["provenance"]["device"].startswith(("CPU", "GPU"))
    peak = bench_gpu.measure(bench_gpu.Row("peak", "float32", seconds=0.05))
    assert peak["multiply_adds_per_second"] > 1e8


def test_the_rate_is_that_of_the_clock():
    rate = bench_gpu.rate_of(lambda steps: time.sleep(0.002 * steps), 0.1)
    assert 100 < rate <= 500
