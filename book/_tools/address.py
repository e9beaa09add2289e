"""Where this book's sources are published, as far as that is known; nothing is made up."""

import os
import re
import subprocess


def repository() -> str:
    """The GitHub address: REPOSITORY, CI's variable or the git remote; empty where none is known.

    SystemExit where REPOSITORY is set to something that is no GitHub repository, since launch
    buttons would lead elsewhere.
    """
    given = os.environ.get("REPOSITORY", "")
    named = given or os.environ.get("GITHUB_REPOSITORY", "") or _git("remote", "get-url", "origin")
    # owner/name alone, https://github.com/owner/name or git@github.com:owner/name
    match = re.fullmatch(
        r"(?:(?:https?://|ssh://git@|git@)github\.com[/:])?"
        r"([A-Za-z0-9][\w-]*/[\w.-]+?)(?:\.git)?/?",
        named,
    )
    if match:
        return f"https://github.com/{match.group(1)}"
    if given:
        raise SystemExit(
            f"REPOSITORY={given} is no GitHub repository: write it as owner/name or "
            "https://github.com/owner/name."
        )
    return ""


def pages() -> str:
    """Where GitHub publishes the repository's pages; empty where no address is known."""
    known = repository().removeprefix("https://github.com/")
    owner, _, name = known.partition("/")
    return f"https://{owner.lower()}.github.io/{name}/" if known else ""


def source_commit() -> str:
    """The commit whose package a reader is to fetch; empty where there is no git."""
    return _git("rev-parse", "HEAD")


def revision() -> str:
    """What launch buttons point at: REVISION, a tag on the commit, or the commit; else empty."""
    return (
        os.environ.get("REVISION")
        or _git("describe", "--tags", "--exact-match", "HEAD")
        or source_commit()
    )


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
