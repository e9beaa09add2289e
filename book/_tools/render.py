"""Assemble the book from executed notebooks and render it; the last good book stays on failure.

The staged copy mirrors the repository's folders, so links and launch buttons keep their paths.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import address
import claims_page
import first_look
import fold
import head_3d
import icons
import minutes
import model_card
import plain_viewers
import social_card
import status
import tidy
import vendor
import yaml
from stamp import in_words, stamped, unpublished

CACHE = Path("_build/vendor")


def stage(executed: Path, staged: Path) -> None:
    """Copy prose, settings and executed notebooks to where Sphinx reads them."""
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree("book", staged / "book", ignore=shutil.ignore_patterns("_tools", "__pycache__"))
    notebooks = _stage_chapters(executed, staged)
    # Two pages are made by processes that load frameworks: meanwhile this one makes the others.
    with ThreadPoolExecutor(2) as threads:
        apart = [threads.submit(make, executed, staged / "book") for make in (_catalogue, _network)]
        _stage_pages(executed, staged, notebooks)
        for page in apart:
            page.result()
    _stage_head(staged)


def _stage_head(staged: Path) -> None:
    """The head on the first page, of files that are whole only when `_network` is done."""
    static = staged / "book/_static"
    head_3d.fill(staged / "book/intro.md", static / "head", vendor.viewer(static, CACHE))


def _stage_chapters(executed: Path, staged: Path) -> list[Path]:
    """The chapters and what is told of them, which is where a build can lack something."""
    (staged / "notebooks").mkdir()
    notebooks = sorted(Path("notebooks").glob("*.ipynb"))
    published, commit = address.repository(), address.source_commit()
    for notebook in notebooks:
        content = json.loads((executed / notebook.name).read_text())
        _check_outputs(notebook, content)
        if published and commit:
            content = stamped(content, published, commit)
        else:
            content = unpublished(content)
        content = plain_viewers.in_plain_html(_numbered(_for_page(content), notebook.stem))
        (staged / "notebooks" / notebook.name).write_text(json.dumps(content))
    _say_what_is_published(staged / "book", bool(published and commit))
    claims_page.fill(staged / "book/claims.md", Path("book/claims.yml"), executed)
    return notebooks


def _stage_pages(executed: Path, staged: Path, notebooks: list[Path]) -> None:
    """The other pages that are made when the book is built, and its settings."""
    published, commit = address.repository(), address.source_commit()
    status.fill(staged / "book/status.md", executed, notebooks)
    minutes.fill(staged / "book/learning-paths.md", executed, notebooks)
    heads = first_look.Heads.drawn()
    first_look.fill(staged / "book/reading-a-head.md", heads)
    first_look.editor_slice(heads, staged / "book/_static/editor-slice.js")
    model_card.fill(staged / "book/model-card.md", Path("results"))
    settings = yaml.safe_load(Path("_config.yml").read_text())
    if published and commit:
        settings["repository"] = {"url": published, "branch": address.revision()}
        settings["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
        settings["html"]["use_repository_button"] = True
    settings["html"]["extra_footer"] += status.built(commit)
    static, options = staged / "book/_static", settings["sphinx"]["config"]
    shutil.copy("NOTICE", static / "NOTICE.txt")  # its licenses ask to go where their code goes
    social_card.draw(static / "social-card.png", settings["title"])
    settings["html"]["baseurl"] = options["ogp_site_url"] = address.pages()
    extensions = settings["sphinx"]["local_extensions"]
    settings["sphinx"]["local_extensions"] = {
        name: str((staged / place).resolve()) for name, place in extensions.items()
    }
    (staged / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False))


def _say_what_is_published(book: Path, published: bool) -> None:
    """Keep or drop the pages' words that are true only where the repository is known."""
    if not published:
        print("Launch buttons: none, no repository is known (REPOSITORY=owner/name names one)")
    for page in book.glob("*.md"):
        kept = in_words(page.read_text(encoding="utf-8"), published)
        page.write_text(kept, encoding="utf-8")


def _apart(tool: str, *arguments: str | Path, failed: str) -> str:
    """What a tool says that runs in a process of its own; where it fails, the build ends."""
    done = subprocess.run(
        [sys.executable, f"book/_tools/{tool}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\n{failed} (above); the last good book stays.")
    return done.stdout


def _catalogue(executed: Path, book: Path) -> None:
    """The drawings of all networks, in a process that may load frameworks."""
    about = json.loads((executed / "08_baseline_networks.ipynb").read_text())["metadata"]
    profile = about.get("papermill", {}).get("parameters", {}).get("profile", "demo")
    _apart("catalogue.py", book / "networks.md", profile, failed="The networks could not be drawn")


def _network(executed: Path, book: Path) -> None:
    """The files of the page that runs the network itself, in a process that may load frameworks."""
    static = book / "_static"
    folder = static / "network"
    said = _apart(
        "network.py", executed, folder, failed="The network for its page could not be made"
    )
    runtime = vendor.runtime(static, CACHE) if (folder / "network.onnx").exists() else ""
    if not runtime:
        print(f"The network in the page: stored answers only. {said.strip()}")
    with open(folder / "slices.js", "a") as more:
        more.write(f"window.kensegNetwork.runtime = {json.dumps(runtime)};\n")
        more.write(f"window.kensegNetwork.runtime_weight = {_weight(static / runtime)};\n")


def _weight(folder: Path) -> int:
    """Bytes of the runtime, which the page fetches when it is asked to load a network."""
    return sum(file.stat().st_size for file in folder.glob("ort*"))


def _check_outputs(notebook: Path, content: dict) -> None:
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    if not any(cell["outputs"] for cell in code):
        sys.exit(
            f"{notebook}: its executed copy holds no outputs. Run it again: "
            "rm the copy under _build/executed, then make book."
        )


def _for_page(content: dict) -> dict:
    """What the page makes of an executed notebook: alternative texts, no injected cell, folds."""
    kept = []
    for cell in content["cells"]:
        tags = cell["metadata"].setdefault("tags", [])
        if "injected-parameters" in tags:
            tags.append("remove-cell")
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": alt}
            if "text/markdown" in output.get("data", {}):
                output["data"]["text/markdown"] = _to_pages(output["data"]["text/markdown"])
        kept.append(cell)
    return content | {"cells": fold.for_page(kept)}


def _numbered(content: dict, name: str) -> dict:
    """A chapter with its number before its title: the text says "chapter 6", so pages do, too."""
    first, *rest = content["cells"]
    title = re.sub(r"^# ", f"# {int(name[:2])} · ", "".join(first["source"]), count=1, flags=re.M)
    return content | {"cells": [first | {"source": title}, *rest]}


def _to_pages(words) -> str:
    """Links to chapters in words that code has printed, which Sphinx leaves as they are."""
    return re.sub(r"(\]\([\w./-]*)\.ipynb", r"\1.html", "".join(words))


def main() -> int:
    executed = Path(sys.argv[1])
    build = Path(sys.argv[2] if len(sys.argv) > 2 else "_build").resolve()
    staged, fresh, log = build / "source", build / "fresh", build / "render.log"
    try:
        stage(executed, staged)
    except ValueError as error:  # a page or a chapter lacks what another asks of it
        print(f"{error}\nNothing was rendered; the last good book stays.", file=sys.stderr)
        return 1
    shutil.rmtree(fresh, ignore_errors=True)
    command = [
        Path(sys.executable).with_name("jupyter-book"),
        "build",
        str(staged),
        "--toc",
        str(staged / "book/_toc.yml"),
        "--path-output",
        str(fresh),
        "-W",
        "--keep-going",
        "--quiet",
    ]
    print("Rendering the pages", flush=True)
    with open(log, "w") as out:
        result = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT)
    if result.returncode:
        print(log.read_text()[-4000:], file=sys.stderr)
        print(f"Rendering failed (whole log: {log}); the last good book stays.", file=sys.stderr)
        return 1
    icons.keep_used(fresh / "_build" / "html")
    tidy.finish(fresh / "_build" / "html")
    old = build / "old-html"
    shutil.rmtree(old, ignore_errors=True)
    if (build / "html").exists():
        os.replace(build / "html", old)
    os.replace(fresh / "_build" / "html", build / "html")
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(fresh, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
