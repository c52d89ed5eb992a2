"""Sizes and scenes for property-based tests, and a backend that sees what is drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from adaptis.arguments import Device

sides = st.integers(1, 200)  # pixels
seeds = st.integers(0, 2**32 - 1)

VOID = -1
CLASSES = [
    {"id": id_, "name": name, "isthing": isthing, "color": [id_, 0, 0]}
    for id_, name, isthing in ((7, "road", 0), (23, "sky", 0), (24, "person", 1), (26, "car", 1))
]  # the ids are Cityscapes', too
STUFF, THINGS = (0, 1), (2, 3)  # class indices


class Scene(NamedTuple):
    """An image's ground truth."""

    class_map: np.ndarray  # (H, W) class indices, VOID where unlabelled
    panoptic_seg: np.ndarray  # (H, W) segment ids below 256, 0 where void
    category_ids: dict[int, int]  # segment id -> category id

    @property
    def things(self) -> dict[int, int]:
        ids = {CLASSES[i]["id"] for i in THINGS}
        return {s: c for s, c in self.category_ids.items() if c in ids}


@st.composite
def scenes(draw, classes=(*STUFF, *THINGS), pixels=3) -> Scene:
    """Rectangles of some of the classes, each thing an instance of its own, and 0 or
    ``pixels`` parts of one pixel."""
    height, width, rng = draw(sides), draw(sides), np.random.default_rng(draw(seeds))
    parts = draw(st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 4), st.integers(1, 4))))
    rows, cols = (np.sort(rng.integers(n, size=size)) for n, size in zip(parts, (height, width)))
    cells = rows[:, None] * 4 + cols
    for pixel in range(draw(st.sampled_from([0, pixels]))):
        cells[rng.integers(height), rng.integers(width)] = 16 + pixel
    present = draw(st.lists(st.sampled_from(classes), min_size=1, unique=True))
    class_map = rng.choice(present, 16 + pixels)[cells]
    panoptic_seg = np.where(np.isin(class_map, THINGS), 10 + cells, class_map + 1)
    ids, firsts = np.unique(panoptic_seg, return_index=True)
    category_ids = {
        id_: CLASSES[class_]["id"]
        for id_, class_ in zip(ids.tolist(), class_map.flat[firsts].tolist())
        if class_ != VOID
    }
    return Scene(class_map, panoptic_seg, category_ids)


def assert_same_segments(scene: Scene, panoptic_seg: np.ndarray, segments: list[dict]) -> None:
    """Up to their ids."""
    assert sorted(s["id"] for s in segments) == sorted(set(np.unique(panoptic_seg).tolist()) - {0})
    pairs = set(zip(scene.panoptic_seg.ravel().tolist(), panoptic_seg.ravel().tolist()))
    assert len(pairs) == len(np.unique(scene.panoptic_seg)) == len(np.unique(panoptic_seg))
    theirs = {s["id"]: s["category_id"] for s in segments}
    assert all(scene.category_ids.get(a) == theirs.get(b) for a, b in pairs)


class SeesWhatIsDrawn:
    """A backend without a network: an object is all pixels of the point's colour, red its class
    index."""

    device = Device("cpu")

    def encode(self, image):
        return (image * 255).round()

    def class_probabilities(self, image):
        return np.stack([image[0] == index for index in range(len(CLASSES))]).astype(np.float32)

    def confidences(self, image, points_yx, window=None):
        rows, cols = points_yx.astype(int).T
        same = (image[:, None] == image[:, rows, cols, None, None]).all(axis=0)
        return same.astype(np.float32)

    @staticmethod
    def image_of(scene: Scene) -> np.ndarray:
        return np.stack([scene.class_map, scene.panoptic_seg, 0 * scene.class_map], 2).astype("u1")

    @staticmethod
    def description(**inference) -> dict:
        """With random points, as this network proposes none."""
        classes = [{"category_id": c["id"], "isthing": bool(c["isthing"])} for c in CLASSES]
        inference = {"points": "random", "greedy": {"min_area": 1}, **inference}
        return {"mean": [0] * 3, "std": [1] * 3, "classes": classes, "inference": inference}
