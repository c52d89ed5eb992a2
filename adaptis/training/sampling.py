"""Training points and their targets (paper, Sections 3 and 5). Arrays only, no network."""

from __future__ import annotations

import cv2
import numpy as np

IGNORED = -1  # a mask pixel that counts in no loss; also a semantic map's void, see datasets.base
PADDING = -2  # a semantic map's, see datasets.base
IGNORED_POINT_PROBABILITY = 0.025  # of a point in an ignored region, authors' code
TOUCHING_DISTANCE = 2  # px between the nearest pixels of two objects that touch, in x and y


class ObjectPixels:
    """The pixels of each object of an instance map, so that random ones can be drawn.

    Parameters:
        instance_map: (H, W) integer ids, 0 where there is no object.
        ignored_ids: ids that are no targets (crowds).
        min_area: objects with fewer visible pixels are no targets either.
        padding: (H, W) bool, pixels beyond the image, which masks ignore.

    Attributes:
        targets, ignored: (N,) int64, places of the objects in the sorted list of ids.
    """

    def __init__(
        self,
        instance_map: np.ndarray,
        ignored_ids=(),
        min_area: int = 1,
        padding: np.ndarray | None = None,
    ):
        self._instance_map = instance_map
        flat = instance_map.ravel()
        self._order = np.argsort(flat, kind="stable")  # pixels, grouped by id
        self._ids, self._starts, self._areas = np.unique(
            flat[self._order], return_index=True, return_counts=True
        )
        is_target = (self._areas >= min_area) & ~np.isin(self._ids, ignored_ids)
        self.targets = np.flatnonzero((self._ids != 0) & is_target)
        self.ignored = np.flatnonzero((self._ids != 0) & ~is_target)
        self._blank = np.zeros(instance_map.shape, np.int8)  # a mask without its object
        if padding is not None:
            self._blank[padding] = IGNORED

    def touching(self) -> np.ndarray:
        """Those of ``targets`` that touch another object: (N,) int64."""
        around = np.ones((2 * TOUCHING_DISTANCE + 1,) * 2, np.uint8)
        place = np.searchsorted(self._ids, self._instance_map).astype(np.float32)
        background = self._instance_map == 0
        highest = cv2.dilate(np.where(background, -np.inf, place), around)
        lowest = cv2.erode(np.where(background, np.inf, place), around)
        beside = ~background & ((highest > place) | (lowest < place))
        times = np.bincount(place[beside].astype(np.int64), minlength=len(self._ids))
        return self.targets[times[self.targets] > 0]

    def draw(self, chosen: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` random pixels of an object, one of ``targets`` or ``ignored``: (count, 2)
        float32 (row, col)."""
        places = self._starts[chosen] + rng.integers(self._areas[chosen], size=count)
        rows_cols = np.divmod(self._order[places], self._instance_map.shape[1])
        return np.stack(rows_cols, axis=1).astype(np.float32)

    def mask(self, chosen: int) -> np.ndarray:
        """(H, W) int8: 1 on the object, or IGNORED if it is no target; IGNORED on padding; 0 on all
        else, crowds and void too: masks aren't to spill over them (authors' code)."""
        mask = self._blank.copy()
        mask[self._instance_map == self._ids[chosen]] = 1 if chosen in self.targets else IGNORED
        return mask


def sample_points(
    objects: ObjectPixels, num_points: int, rng: np.random.Generator, touching: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Points with object-level stratification: a random object, then a random pixel of it
    (Section 3). The objects are dealt rather than drawn one by one: none is taken twice before
    each was taken once.

    Parameters:
        touching: probability of a point on an object that touches another, where there is one;
            ours, the paper's is 0.

    Returns points_yx, (K, 2) float32 (row, col) pixels; and masks, (K, H, W) int8, see
    :meth:`ObjectPixels.mask`, IGNORED everywhere on an image without objects.
    """
    points, masks = [], []
    queue: list[int] = []  # places of objects still to be dealt
    neighbours = objects.touching() if touching else ()
    for _ in range(num_points):
        if len(objects.ignored) and rng.random() < IGNORED_POINT_PROBABILITY:
            chosen = rng.choice(objects.ignored)
        elif len(neighbours) and rng.random() < touching:
            chosen = rng.choice(neighbours)
        elif len(objects.targets):
            queue = queue or list(rng.permutation(objects.targets))
            chosen = queue.pop()
        else:
            return _nothing(objects, num_points)
        points.append(objects.draw(chosen, 1, rng)[0])
        masks.append(objects.mask(chosen))
    return np.stack(points), np.stack(masks)


def sample_object_points(
    objects: ObjectPixels, num_points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points of one random object, for the proposal branch (Section 5).

    Returns points_yx, (K, 2) float32 (row, col) pixels; and masks, (1, H, W) int8, the object's.
    """
    if not len(objects.targets):
        return _nothing(objects, num_points, num_masks=1)
    chosen = rng.choice(objects.targets)
    return objects.draw(chosen, num_points, rng), objects.mask(chosen)[None]


def objects_of(sample, min_area: int) -> ObjectPixels:
    """The training targets of a data set's Sample: no crowds and no small objects."""
    padding = sample.semantic_map == PADDING
    return ObjectPixels(sample.instance_map, sample.crowd_ids, min_area, padding)


def _nothing(objects: ObjectPixels, num_points: int, num_masks: int | None = None):
    shape = (num_masks or num_points, *objects._instance_map.shape)
    return np.zeros((num_points, 2), np.float32), np.full(shape, IGNORED, np.int8)
