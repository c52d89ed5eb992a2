"""What a data set's inference is done with; stored in its weights."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from adaptis.inference.greedy import GreedySettings


@dataclass(frozen=True)
class InferenceSettings:
    """Settings of an AdaptISPredictor.

    Attributes:
        greedy: thresholds of the greedy algorithm.
        points: "proposals" for the proposal branch's peaks (Section 5), "random" for random
            sampling (Sections 4 and 6).
        thing_threshold: pixels whose summed probability of thing classes is lower are stuff, and
            start as segmented.
        peak_threshold: lowest score of a peak of the proposal map.
        proposal_blur: width in pixels of the box filter on the proposal map, 1 for none.
        flip: average with the mirrored image (Section 7).
        shortest_side, longest_side: pixels to which images are scaled by that side before anything
            else (Section 7: COCO 600 by the shortest, Mapillary 2000 by the longest); results come
            back at the image's own size. At most one is set.
        tile_size: side in pixels of the tiles in which larger images are segmented by
            ``adaptis.inference.tiles.segment_panoptic``, after scaling; None for whole images.
        points_per_batch: most points a pass of the head, fewer on a CPU; bounds memory, changes no
            result.
        seed: of random sampling.
    """

    greedy: GreedySettings = field(default_factory=GreedySettings)
    points: str = "proposals"
    thing_threshold: float = 0.3  # authors' toy settings, like the two below
    peak_threshold: float = 0.1
    proposal_blur: int = 2
    flip: bool = False
    shortest_side: int | None = None
    longest_side: int | None = None
    tile_size: int | None = None
    points_per_batch: int = 8
    seed: int = 0

    def __post_init__(self):
        if self.points not in ("proposals", "random"):
            raise ValueError(f"points are {self.points!r}; they must be 'proposals' or 'random'")
        if self.shortest_side and self.longest_side:
            raise ValueError("both sides are set; images are scaled by one of them")

    @classmethod
    def from_description(cls, description: dict) -> InferenceSettings:
        """From the JSON of a weights file. Raises ValueError for entries that don't exist or whose
        values can't be."""
        greedy = description.get("greedy", {})
        for kind, entries in ((cls, description), (GreedySettings, greedy)):
            if unknown := set(entries) - {f.name for f in fields(kind)}:
                raise ValueError(f"unknown entries {sorted(unknown)}")
        return cls(**{**description, "greedy": GreedySettings(**greedy)})

    def with_options(self, **options) -> InferenceSettings:
        """With other values of its attributes and of those of ``greedy``, by name. Raises TypeError
        for names that neither has, ValueError for values that can't be."""
        names = {f.name for f in fields(GreedySettings)}
        greedy = {name: options.pop(name) for name in names & set(options)}
        return replace(self, **{"greedy": replace(self.greedy, **greedy), **options})
