"""Run one notebook with papermill into an executed copy; on failure say where and why."""

import argparse
import os
import re
import sys
from pathlib import Path

import memory
import papermill
import side_by_side
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import write_ipynb


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--side-by-side", type=int, default=1, help="how many chapters run at once")
    arguments = parser.parse_args()
    alone = arguments.side_by_side < 2
    os.environ |= side_by_side.threads(side_by_side.cores(), arguments.side_by_side)
    parameters = dict(profile=arguments.profile)
    if arguments.data_root:
        parameters["data_root"] = str(Path(arguments.data_root).expanduser().resolve())
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    # Written aside: a failed or interrupted run must not look executed to make.
    aside = arguments.output.with_name(f".running-{arguments.output.name}")
    print(f"{arguments.notebook} ({arguments.profile})", flush=True)
    _keep_terminal_for_the_bar(arguments.output.with_suffix(".log"))
    try:
        with memory.Peak() as peak:
            done = papermill.execute_notebook(
                str(arguments.notebook),
                str(aside),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(arguments.notebook.parent),
                progress_bar=alone,  # two bars in one terminal tear each other apart
                log_output=False,
            )
    except PapermillExecutionError as error:
        failed = arguments.output.with_name(f"failed-{arguments.output.name}")
        os.replace(aside, failed)
        print(
            f"\n{arguments.notebook}, cell [{error.exec_count}]: {error.ename}: {error.evalue}\n"
            f"{_tail(error.traceback)}\nThe half-run copy is {failed}; the last good book stays.",
            file=sys.stderr,
        )
        return 1
    done.metadata.papermill["peak_memory"] = peak.bytes
    write_ipynb(done, str(aside))
    os.replace(aside, arguments.output)
    arguments.output.with_name(f"failed-{arguments.output.name}").unlink(missing_ok=True)
    if not alone:
        print(f"{arguments.notebook}: done", flush=True)
    return 0


def _keep_terminal_for_the_bar(log: Path) -> None:
    """Keep the terminal for the progress bar: what kernels write to their stderr goes to a log.

    TensorFlow greets with lines that no setting silences, and they would tear the bar apart.
    """
    terminal = os.dup(2)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1)


def _tail(traceback: list[str], lines: int = 15) -> str:
    """The end of a traceback, without the colours that IPython puts in."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(traceback)).splitlines()
    return "\n".join(text[-lines:])


if __name__ == "__main__":
    sys.exit(main())
