"""Shared fixtures: the repository's root, a work folder, and every notebook executed once."""

import gc
import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

import kenseg_utils  # noqa: F401  before any test's Keras: it says which kernels TensorFlow takes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book/_tools"))
import browsing  # noqa: E402
import side_by_side  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The first page is a quick start; the chapters after it teach, with exercises.
CHAPTERS = [path for path in NOTEBOOKS if not path.stem.startswith("00_")]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# XLA optimises for minutes what tests run for seconds; what comes out is the same to rounding.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Its newer way of writing loops takes twice as long to compile.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
# Processes of tests share the cores as chapters do: more threads only wait for each other.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
os.environ |= side_by_side.threads(side_by_side.cores(), WORKERS) | os.environ

# Of processes side by side each takes a file at a time: the long ones first, so that at the end
# nobody waits for one. What looks at the pages comes late, when all notebooks that they are made of
# have run: a process that waits for them does nothing else.
FIRST = (
    "test_notebooks", "test_networks", "test_training", "test_prediction", "test_experiments",
    "test_phantom", "test_distribution", "test_synthesis", "test_structure", "test_export",
    "test_formulas", "test_browser", "test_try_it",
)  # fmt: skip
LAST = ("test_exercises", "test_book", "test_publishing")


# A worker holds millions of objects that stay: looking at all of them again and again for some that
# are lost took a tenth of its time. What was loaded is set aside, and it is looked for less often.
gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    def order(item):
        name = item.path.stem
        if name in FIRST:
            return FIRST.index(name)
        return len(FIRST) + (1 + LAST.index(name) if name in LAST else 0)

    items.sort(key=order)


@pytest.fixture(scope="module", autouse=True)
def forget_networks():
    """What a file of tests built and traced is let go at its end: a worker grew to 9 GB."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=True)


@pytest.fixture(autouse=True)
def drawn_alike():
    """Networks without a seed of their own begin alike: Keras draws it from Python's generator.

    `keras.utils.set_random_seed` would throw away every kernel that TensorFlow has made so far.
    """
    random.seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of this run, the same for all processes that pytest runs side by side."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@pytest.fixture(scope="session")
def work_dir(shared) -> Path:
    """One work folder for the session, so that the phantom is written once."""
    folder = shared / "kenseg-home"
    folder.mkdir(exist_ok=True)
    os.environ["KENSEG_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def smoke_scans(work_dir):
    """The phantom release of profile smoke."""
    from kenseg_utils import profiles

    return profiles.open_scans(profiles.get("smoke"), work_dir=work_dir)


@pytest.fixture(scope="session")
def smoke_crops(smoke_scans, work_dir):
    """Its (train, validation, test) slices."""
    from kenseg_utils import profiles

    return profiles.open_crops(profiles.get("smoke"), smoke_scans, work_dir)


def write_release(folder: Path, count: int, shape: tuple[int, int, int], lesion, dark=None):
    """Tiny scans of noise in R2.0's names, one a subject; returns them as `find_scans` does.

    `lesion(number)` gives the slices of its box; `dark` is its grey value (None: as around it).
    """
    import nibabel as nib
    import numpy as np

    from kenseg_utils import atlas

    rng = np.random.default_rng(0)
    for number in range(count):
        subject = f"sub-r001s{number:03d}"
        place = folder / "ATLAS_2/Training/R001" / subject / "ses-1/anat"
        place.mkdir(parents=True)
        image = rng.integers(80, 200, shape).astype(np.uint8)
        mask = np.zeros_like(image)
        mask[lesion(number)] = 1
        if dark is not None:
            image[mask > 0] = dark
        for name, array in (("T1w", image), ("label-L_desc-T1lesion_mask", mask)):
            nib.save(
                nib.Nifti1Image(array, np.eye(4)),
                place / f"{subject}_ses-1_space-MNI152NLin2009aSym_{name}.nii.gz",
            )
    return atlas.find_scans(folder)


@pytest.fixture(scope="session")
def executed(work_dir, shared):
    """Execute a notebook by name through the book's own tool, once a run; gives the copy."""
    folder = shared / "executed"
    folder.mkdir(exist_ok=True)

    def execute(name: str) -> Path:
        copy = folder / f"{name}.ipynb"
        with FileLock(folder / f"{name}.lock"):
            if not copy.exists():
                result = subprocess.run(
                    [
                        sys.executable,
                        "book/_tools/execute.py",
                        f"notebooks/{name}.ipynb",
                        str(copy),
                        "--profile",
                        "smoke",
                    ],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    env=os.environ | {"KENSEG_HOME": str(work_dir)},
                )
                assert result.returncode == 0, result.stderr[-6000:]
        return copy

    return execute


@pytest.fixture(scope="session")
def html(request, shared):
    """The pages, rendered from the copies that the notebook tests execute; or at KENSEG_HTML."""
    if os.environ.get("KENSEG_HTML"):
        return Path(os.environ["KENSEG_HTML"]).resolve()
    executed = request.getfixturevalue("executed")
    # Two processes that both want the pages begin at either end, and meet.
    backwards = os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0"
    for path in reversed(NOTEBOOKS) if backwards else NOTEBOOKS:
        copy = executed(path.stem)
    folder = shared / "pages"
    with FileLock(shared / "pages.lock"):
        if not (folder / "whole").exists():
            result = render(copy.parent, folder)
            assert result.returncode == 0, result.stderr[-4000:]
            (folder / "whole").touch()
    return folder / "html"


@contextmanager
def bare_page(chromium, html: str, width: int = 360):
    """A page of given HTML, which must not complain."""
    context = chromium.new_context(viewport={"width": width, "height": 900})
    tab = context.new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    tab.set_content(html)
    yield tab
    assert not complaints
    context.close()


@pytest.fixture(scope="session")
def chromium():
    """A browser for all tests that want one, or the reason why there is none."""
    program = browsing.program()
    if not program:
        pytest.skip("no Chromium on the path: install chromium for the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


def shown(notebook: Path) -> str:
    """The text of all outputs of an executed notebook."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            parts += [
                "".join(data.get(kind, "")) for kind in ("text/markdown", "text/html", "text/plain")
            ]
            parts += [str(value) for key, value in data.items() if "papermill.record" in key]
    return "\n".join(parts)


def render(executed: Path, build: Path):
    """Render executed notebooks by the book's own tool."""
    return subprocess.run(
        [sys.executable, "book/_tools/render.py", executed, build],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
