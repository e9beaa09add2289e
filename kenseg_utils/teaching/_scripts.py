"""What the pages' forms with a script of their own share: their names, and values in the script."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def form_name(kind: str, content: str) -> str:
    """The id of a form: its own for each content, and the same one in every build of the book."""
    return f"kenseg-{kind}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def in_script(value: Any, **layout: Any) -> str:
    """A value as JSON that ends no script, whatever texts it holds. `layout`: as `json.dumps`."""
    return json.dumps(value, **layout).replace("<", "\\u003c")
