"""Viewers without a widget manager: what ipywidgets would draw, as HTML that is there at once.

A notebook keeps the state of its widgets. The viewers of this book are made of a few kinds (boxes,
a stack, a slider with its play button, buttons, HTML), and every picture that they can show is in
that state. So a page needs no widget manager (3.6 MB): the pictures stand in the page, all but one
hidden, and `viewer.js` shows the one that a slider or a button asks for. Without scripts the first
picture stays.
"""

from __future__ import annotations

import html
from typing import Any

STATE, VIEW = (
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
)


class UnknownWidget(ValueError):
    """A kind of widget that has no plain form here."""


def in_plain_html(content: dict) -> dict:
    """An executed notebook with its viewers as HTML, and without their state.

    Raises UnknownWidget for a kind that has no such form: the page would lack it silently.
    """
    stored = content["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(VIEW)
            if view is not None:
                drawn = _Drawn(stored).page(view["model_id"])
                output["data"] = {"text/html": drawn}
    metadata = {key: value for key, value in content["metadata"].items() if key != "widgets"}
    return content | {"metadata": metadata}


class _Drawn:
    """The widgets of one notebook: what each is, and what follows what."""

    def __init__(self, stored: dict[str, dict]):
        self.models = {key: (one["model_name"], one["state"]) for key, one in stored.items()}
        self.follows: dict[str, str] = {}  # a stack, or a play button's slider → what leads it
        for name, state in self.models.values():
            if name == "LinkModel":
                (source, _), (target, _) = state["source"], state["target"]
                self.follows[_key(target)] = _key(source)

    def page(self, key: str) -> str:
        name, state = self.models[key]
        if name in ("VBoxModel", "HBoxModel"):
            classes = ["kenseg-row"] if name == "HBoxModel" else []
            classes += [one for one in state.get("_dom_classes", []) if one.startswith("kenseg-")]
            return self._box(" ".join(classes), state)
        draw = {
            "HTMLModel": self._html,
            "StackModel": self._stack,
            "SelectionSliderModel": self._slider,
            "PlayModel": self._play,
            "ToggleButtonsModel": self._buttons,
        }.get(name)
        if draw is None:
            raise UnknownWidget(f"a viewer holds a {name}, which pages cannot show.")
        return draw(key, state)

    def _box(self, classes: str, state: dict[str, Any]) -> str:
        inner = "".join(self.page(_key(child)) for child in state["children"])
        return f'<div class="{classes}">{inner}</div>' if classes else f"<div>{inner}</div>"

    def _html(self, _key: str, state: dict[str, Any]) -> str:
        return f"<div>{state['value']}</div>"

    def _stack(self, key: str, state: dict[str, Any]) -> str:
        chosen, pages = state.get("selected_index") or 0, []
        for place, child in enumerate(state["children"]):
            hidden = "" if place == chosen else " hidden"
            pages.append(f"<div{hidden}>{self.page(_key(child))}</div>")
        return f'<div data-shows="{self.follows[key]}">{"".join(pages)}</div>'

    def _slider(self, key: str, state: dict[str, Any]) -> str:
        labels, index = state["_options_labels"], state.get("index") or 0
        name = html.escape(state["description"])
        options = html.escape("\n".join(labels))
        return (
            f'<label class="kenseg-slider">{name} <input type="range" id="{key}" min="0" '
            f'max="{len(labels) - 1}" value="{index}" data-labels="{options}" '
            f'aria-valuetext="{html.escape(labels[index])}" autocomplete="off"> '
            f"<output>{html.escape(labels[index])}</output></label>"
        )

    def _play(self, key: str, state: dict[str, Any]) -> str:
        slider = next(follower for follower, leader in self.follows.items() if leader == key)
        return (
            f'<button type="button" class="kenseg-play" data-plays="{slider}" '
            f'data-interval="{state.get("interval", 250)}" aria-pressed="false">Play</button>'
        )

    def _buttons(self, key: str, state: dict[str, Any]) -> str:
        name = html.escape(state["description"])
        buttons = "".join(
            f'<button type="button" data-place="{place}" '
            f'aria-pressed="{"true" if place == (state.get("index") or 0) else "false"}">'
            f"{html.escape(label)}</button>"
            for place, label in enumerate(state["_options_labels"])
        )
        return (
            f'<div class="kenseg-buttons" role="group" aria-label="{name}" id="{key}">'
            f"{name} {buttons}</div>"
        )


def _key(reference: str) -> str:
    return reference.removeprefix("IPY_MODEL_")
