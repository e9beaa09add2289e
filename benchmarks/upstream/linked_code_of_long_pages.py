"""Sphinx-codeautolink: a page of joined code blocks takes time that grows with their square.

With `codeautolink_concat_default` a block's names are those of all blocks before it, as the cells
of a notebook need it. To find them, the extension parses and walks all of the joined code anew for
each block, although only the new block's names are kept.
"""

import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx

BLOCK = """
.. code-block:: python

   def step_{number}(values):
       total = json.dumps(values)
       for _ in range(3):
           total = json.loads(total)
       return total, json.dumps({{"number": {number}, "values": values}})
"""
CONFIG = """
extensions = ["sphinx_codeautolink"]
codeautolink_concat_default = {joined}
"""


def seconds(blocks: int, joined: bool) -> float:
    """How long Sphinx takes for one page of so many blocks."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        source.mkdir()
        (source / "conf.py").write_text(CONFIG.format(joined=joined))
        page = ["Page", "====", "", ".. code-block:: python", "", "   import json", ""]
        page += [BLOCK.format(number=number) for number in range(blocks)]
        (source / "index.rst").write_text("\n".join(page))
        app = Sphinx(source, source, built, built / "trees", "html", status=None, warning=None)
        begun = time.perf_counter()
        app.build()
        return time.perf_counter() - begun


def main() -> None:
    names = ("sphinx-codeautolink", "Sphinx", "beautifulsoup4")
    print(
        ", ".join(f"{name} {version(name)}" for name in names)
        + f", Python {platform.python_version()}, {platform.machine()}"
    )
    seconds(1, False)  # what is imported and set up once
    print("blocks  each by itself (s)  joined (s)")
    for blocks in (50, 100, 200, 400):
        apart, joined = (seconds(blocks, joined) for joined in (False, True))
        print(f"{blocks:6d}  {apart:18.2f}  {joined:10.2f}", flush=True)


if __name__ == "__main__":
    main()
