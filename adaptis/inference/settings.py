"""What a data set's inference is done with; stored in its weights.

Each setting states here what it means, which values it may have and its default; its option on the
command line (``adaptis.inference.options``) and its check in a weights file follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from adaptis.preprocessing import MAX_SIDE
from adaptis.values import (
    COUNT,
    FRACTION,
    PROBABILITY,
    SHARE,
    SWITCH,
    WHOLE,
    Values,
    between,
)

# Sections 5 and 6
POINTS = Values(str, "'proposals' or 'random'", lambda v: v in ("proposals", "random"))

LENGTH = Values(float, f"above 0 and at most {MAX_SIDE}", lambda v: 0 < v <= MAX_SIDE)  # px


def _setting(default, values: Values, meaning: str):
    """A field of a dataclass of settings; where the default is None, None is allowed too."""
    return field(default=default, metadata={"values": values, "meaning": meaning})


def _check(settings) -> None:
    """Raise ValueError for a setting whose value isn't allowed."""
    for setting in fields(settings):
        values, value = setting.metadata.get("values"), getattr(settings, setting.name)
        if values and not values.include(value) and not (value is setting.default is None):
            raise ValueError(f"{setting.name} is {value!r}; it must be {values.words}")


@dataclass(frozen=True)
class GreedySettings:
    """Of the greedy algorithm (Section 4). Raises ValueError for values that can't be."""

    mask_threshold: float = _setting(
        0.4,  # authors' toy settings, and Section 7's for Cityscapes
        FRACTION,
        "T of Section 4: a mask is where the confidence exceeds it",
    )
    max_overlap: float = _setting(
        0.5,  # Section 4
        SHARE,
        "an object is added if less than this share of its mask is segmented already",
    )
    min_area: int = _setting(
        10,  # authors' code
        COUNT,
        "pixels; smaller masks are ignored",
    )
    candidates: int = _setting(
        7,  # Section 6
        COUNT,
        "random points tried at each iteration, of which the best is kept",
    )
    proposal_candidates: int = _setting(
        1,  # Section 5: in the order of their scores
        COUNT,
        "point proposals compared at each iteration, of which the most confident mask is kept, as "
        "of random points; more where scores compare points of one object, not objects",
    )
    max_fruitless: int = _setting(
        300,  # four times what a trained network needed for a last object of a scene of 250
        COUNT,
        "iterations of random sampling in succession that add no object, after which it ends: an "
        "untrained network would have every pixel tried",
    )
    max_radius: float | None = _setting(
        None,
        LENGTH,
        "pixels around the point beyond which a mask is cut (authors' dense scenes)",
    )
    within_masks: bool = _setting(
        False,  # Section 4; the data sets where objects are missed set it
        SWITCH,
        "leave pixels that are in no mask to nobody: crowds, and objects not found; Section 4's R "
        "gives each to the object most confident there",
    )

    def __post_init__(self):
        _check(self)


SIDES = {"shortest_side", "longest_side"}  # by one of which images are scaled
DENSE_SCENES = {"mask_threshold": 0.7, "max_radius": 40.0}  # authors' settings, 256x256 toy images


@dataclass(frozen=True)
class InferenceSettings:
    """Of an AdaptISPredictor. Raises ValueError for values that can't be."""

    greedy: GreedySettings = field(default_factory=GreedySettings)
    points: str = _setting(
        "proposals",
        POINTS,
        "peaks of the proposal branch (Section 5), or random sampling (Sections 4 and 6)",
    )
    thing_threshold: float = _setting(
        0.3,  # authors' toy settings, like the two below
        PROBABILITY,
        "no point is proposed where every thing class is less probable (authors' code)",
    )
    peak_threshold: float = _setting(
        0.1,
        FRACTION,
        "a point's proposal score reaches the next of the authors' levels above this: .99, .965 "
        "and so on down to .015",
    )
    flood_tolerance: float = _setting(
        0.003,  # authors' code
        PROBABILITY,
        "a peak of the proposal map is no point if on a way from a higher one no step to the next "
        "pixel rises by this; less for a branch that gives good points low scores",
    )
    proposal_blur: int = _setting(
        2, between(1, MAX_SIDE), "width in pixels of the box filter on the proposal map, 1 for none"
    )
    max_proposals: int | None = _setting(
        None,  # Section 5 names none: it finds about a hundred; some images have more objects
        COUNT,
        "most points proposed an image or tile, the highest peaks first; bounds the time it takes; "
        "where it leaves out peaks is said at the end",
    )
    objects_over_stuff: bool = _setting(
        False,
        SWITCH,
        "an object takes a pixel of stuff where its confidence exceeds the probability of stuff, "
        "and no pixel where it doesn't (authors' code); else what the semantic branch calls stuff "
        "stays stuff (Section 5)",
    )
    flip: bool = _setting(False, SWITCH, "average with the mirrored image (Section 7)")
    shortest_side: int | None = _setting(
        None,
        COUNT,
        "pixels to which images are scaled by that side before anything else (Section 7: 600 for "
        "COCO); results come back at the image's own size",
    )
    longest_side: int | None = _setting(
        None, COUNT, "the same by the longest side (Section 7: 2000 for Mapillary)"
    )
    object_diameter: float | None = _setting(
        None,
        LENGTH,
        "pixels; an image whose objects have a median diameter of three quarters or less of it is "
        "segmented once more, scaled up until it is this, at most twice (own images)",
    )
    tile_size: int | None = _setting(
        None, COUNT, "segment larger images, after scaling, in tiles of N x N pixels"
    )
    head_window: int | None = _setting(
        None,
        COUNT,
        "the head sees N x N pixels around each point instead of the whole image, as it does the "
        "windows it is trained on; for images larger than those, and objects within them",
    )
    points_per_batch: int = _setting(
        8, COUNT, "most points a pass of the head, fewer on a CPU; bounds memory, changes no result"
    )
    seed: int = _setting(0, WHOLE, "seed of the points that random sampling draws")

    def __post_init__(self):
        _check(self)
        if self.shortest_side and self.longest_side:
            raise ValueError(
                f"shortest_side is {self.shortest_side} and longest_side {self.longest_side}: both "
                "sides are set; images are scaled by one of them"
            )

    @classmethod
    def from_description(cls, description: dict) -> InferenceSettings:
        """From the JSON of a weights file. Raises ValueError for entries that don't exist or whose
        values can't be."""
        greedy = description.get("greedy", {}) if isinstance(description, dict) else {}
        for kind, entries in ((cls, description), (GreedySettings, greedy)):
            if not isinstance(entries, dict):
                raise ValueError(f"{entries!r} is no table of settings")
            if unknown := set(entries) - {f.name for f in fields(kind)}:
                raise ValueError(f"unknown entries {sorted(unknown)}")
        return cls(**{**description, "greedy": GreedySettings(**greedy)})

    def with_options(self, **options) -> InferenceSettings:
        """With other values of its attributes and of those of ``greedy``, by name; one side given
        replaces the other. Raises TypeError for names that neither has, ValueError for values that
        can't be."""
        known = {f.name for kind in (type(self), GreedySettings) for f in fields(kind)} - {"greedy"}
        if unknown := set(options) - known:
            raise TypeError(f"no settings {sorted(unknown)}; there are {sorted(known)}")
        options = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
        names = {f.name for f in fields(GreedySettings)}
        greedy = {name: options.pop(name) for name in names & set(options)}
        if given := SIDES & options.keys():
            options |= dict.fromkeys(SIDES - given)
        return replace(self, **{"greedy": replace(self.greedy, **greedy), **options})
