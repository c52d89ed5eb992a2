"""The description in a weights file: a foreign file's words, checked before anything is made of it.

What builds the network from "network" checks that part, see models.options; what segments checks
"inference", see adaptis.inference.settings.
"""

from __future__ import annotations

from typing import Any

from adaptis.json_types import Entry, FormatError

TO_SEGMENT = ("network", "classes", "mean", "std")  # what a file must have for it
MOST_CLASSES = 2**12  # COCO has 133


def check_description(description: Any) -> None:
    """Raises FormatError where an entry that we know is of another kind or in no possible range."""
    whole = Entry(description, "description")
    for key in ("network", "inference", "training", "state", "metrics"):
        whole.entry(key, default=None)
    for key in ("dataset", "stage"):
        whole.text(key, default=None)
    if "mean" in whole:
        whole.numbers("mean", 3)
    if "std" in whole:
        whole.numbers("std", 3, above=0)
    if "classes" in whole:
        classes = whole.entries("classes")
        _check_classes(classes)
        built_for = whole.entry("network", default=Entry({})).content.get("classes", len(classes))
        if built_for != len(classes):
            raise FormatError(f"the network is for {built_for!r} classes, {len(classes)} are named")
    if "state" in whole:
        state = whole.entry("state")
        state.whole("iteration")
        state.whole("updates", default=None)
        state.number("best", default=0.0)  # of AdaptIS alone


def _check_classes(classes: list[Entry]) -> None:
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise FormatError(f"classes are {len(classes)}, 1 to {MOST_CLASSES} were expected")
    ids = set()
    for info in classes:
        info.text("name")
        info.truth("isthing")
        ids.add(info.whole("category_id"))
        if "color" in info:
            info.color("color")
    if len(ids) < len(classes):
        raise FormatError("two classes share a category_id")
