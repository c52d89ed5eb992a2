"""Scenes of the toy problem (Section 6 of the paper): overlapping capsules on white.

The values are fitted to the authors' two published scenes; ``datasets.toy_statistics`` compares
what comes out with them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datasets.toy import Degradation, degrade

# From capsules fitted to all masks of the authors' scene of 700 objects, and adjusted to the areas
# of the visible parts in both of their scenes. Lengths and widths in px, with the round caps.
LENGTHS = (20.5, 44.0)
WIDTHS = (6.6, 9.4)
MARGIN = 16.0  # px from the image's border to the centres

# Likewise. "Many overlapping objects that have very similar bounding boxes" come in pairs: in the
# scene of 250 objects a third of consecutive ids lie within 15 px of each other, by chance 1 %.
PAIR_PROBABILITY = 0.8  # of trying to lay an object on the one painted before it
PAIR_TRIES = 3  # draws that leave too little visible, then a place of its own
PAIR_OFFSET = 4.0  # px a coordinate: the most between the centres
PARALLEL_PROBABILITY = 0.1  # in a pair; otherwise the angle is free
PARALLEL_STD = np.radians(8)

# Likewise: each piece that others leave visible of an object has a quarter of its area or more.
MIN_PIECE_SHARE = 0.25
MIN_PIECE_AREA = 30  # px: the smallest piece in both scenes
MAX_PIECES = 2  # likewise the most
MAX_SCENES = 5  # one of 40,000 with up to 60 objects in 128x128 px had no place for its last
MAX_TRIES = 1000  # draws of one capsule: at the authors' densities the most seen was 135

# The colour across an edge in the authors' clear scene: depth inside the outline in px, RGB.
DARK_RIM = np.float32(
    [
        (-1.2, 120, 0, 240),
        (-0.4, 110, 0, 200),
        (0.0, 80, 0, 125),
        (0.4, 84, 3, 98),
        (0.8, 138, 8, 95),
        (1.2, 180, 13, 84),
        (1.6, 205, 12, 66),
        (2.0, 221, 8, 43),
        (2.4, 236, 5, 22),
        (2.8, 243, 3, 11),
        (3.4, 248, 2, 5),
        (4.0, 250, 2, 4),
    ]
)
BLUE_RIM = np.float32(
    [
        (-1.2, 0, 0, 255),
        (-0.4, 22, 0, 240),
        (0.0, 30, 0, 180),
        (0.4, 36, 1, 150),
        (0.8, 48, 1, 144),
        (1.2, 72, 1, 132),
        (1.6, 116, 4, 120),
        (2.0, 173, 12, 99),
        (2.4, 198, 12, 78),
        (2.8, 223, 8, 43),
        (3.2, 236, 6, 23),
        (3.8, 245, 2, 8),
        (4.4, 250, 2, 4),
    ]
)
BLUE_SHARE = 0.25  # of the objects
BLUE_WIDTH = 0.9  # px that such a rim adds all around
RIM_SHIFT_STD = 0.3  # px, between objects: their rims differ in width
EDGE = (1.05, -0.4)  # signed distances in px between which an object comes to cover its ground
TEXTURE_STD = 3.0  # grey levels: the authors' even areas aren't quite even


class Capsule(NamedTuple):
    """All points within ``width / 2`` of a segment; pixel centres have integer coordinates."""

    y: float  # px, the centre
    x: float
    angle: float  # radians from the x axis towards the y axis
    length: float  # px, with the round caps
    width: float  # px

    def signed_distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distance in px from the points (y, x) to the outline, negative inside."""
        dy, dx = y - self.y, x - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along = np.abs(dx * cos + dy * sin) - (self.length - self.width) / 2
        across = dy * cos - dx * sin
        return np.hypot(np.maximum(along, 0), across) - self.width / 2

    def lies_within(self, size: int) -> bool:
        """Whether a size x size image holds all of it."""
        straight = (self.length - self.width) / 2
        for center, extent in ((self.y, np.sin(self.angle)), (self.x, np.cos(self.angle))):
            reach = straight * abs(extent) + self.width / 2
            if not reach - 0.5 <= center <= size - 0.5 - reach:
                return False
        return True


class _Placed(NamedTuple):
    """Where an object lies and how large it was, to see what others leave visible of it."""

    window: tuple[slice, slice]  # rows and columns that hold it
    area: int  # px, of the whole object


def draw_capsule(
    rng: np.random.Generator, size: int, below: Capsule | None, rim_width: float
) -> Capsule:
    """Draw an object of a size x size image; it may stick out.

    Parameters:
        below: the object it is laid on; None: it has a place of its own.
        rim_width: px that its rim adds all around.
    """
    length, width = (rng.uniform(*sizes) + 2 * rim_width for sizes in (LENGTHS, WIDTHS))
    angle = rng.uniform(0, np.pi)
    if below is None:
        y, x = rng.uniform(MARGIN - 0.5, size - 0.5 - MARGIN, 2)
    else:
        y, x = (below.y, below.x) + rng.uniform(-PAIR_OFFSET, PAIR_OFFSET, 2)
        if rng.random() < PARALLEL_PROBABILITY:
            angle = rng.normal(below.angle, PARALLEL_STD)
    return Capsule(y, x, angle, length, width)


def generate_scene(
    rng: np.random.Generator, size: int = 96, min_objects: int = 8, max_objects: int = 22
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one clean scene.

    Returns image, (size, size, 3) uint8 RGB; and instance_map, (size, size) int32, the visible
    parts: 0 background, ids 1..N in the order of painting, so that a higher id lies on top. Objects
    lie whole within the image, and what others leave visible of one is a piece or two, each of at
    least MIN_PIECE_AREA pixels and MIN_PIECE_SHARE of the object.

    Where one finds no place, the scene is begun anew.

    Raises ValueError where the objects don't fit, or the numbers make no sense.
    """
    if size < 1 or not 0 <= min_objects <= max_objects:
        raise ValueError(f"no scene of size {size} with {min_objects} to {max_objects} objects")
    if max_objects and size < 2 * MARGIN:
        raise ValueError(f"no object lies within {size}x{size} px: {2 * MARGIN:.0f} is the least")
    count = int(rng.integers(min_objects, max_objects, endpoint=True))
    for _ in range(MAX_SCENES):
        image, instance_map, missing = _draw_scene(rng, size, count)
        if not missing:
            return degrade(image, Degradation(1, TEXTURE_STD), rng), instance_map
    raise ValueError(
        f"object {missing} of {count} finds no place in an image of {size}x{size} px "
        "that leaves enough of each visible: ask for fewer or a larger image"
    )


def _draw_scene(
    rng: np.random.Generator, size: int, count: int
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Image, (size, size, 3) float32 RGB, instance_map, and the id of the object that found no
    place, None if all did."""
    image = np.full((size, size, 3), 255, np.float32)
    instance_map = np.zeros((size, size), np.int32)
    placed: dict[int, _Placed] = {}
    capsule = None
    for instance_id in range(1, count + 1):
        below = capsule if rng.random() < PAIR_PROBABILITY else None
        rim, rim_width = (BLUE_RIM, BLUE_WIDTH) if rng.random() < BLUE_SHARE else (DARK_RIM, 0.0)
        for attempt in range(MAX_TRIES):
            capsule = draw_capsule(rng, size, below if attempt < PAIR_TRIES else None, rim_width)
            if not capsule.lies_within(size):
                continue
            window = _window(capsule)
            distance = _distance(capsule, window, size)
            if _place(distance < 0, window, instance_id, instance_map, placed):
                break
        else:
            return image, instance_map, instance_id
        _paint(distance, rim, rng, image[window])
    return image, instance_map, None


def _window(capsule: Capsule) -> tuple[slice, slice]:
    """Rows and columns that hold the capsule and its soft edge."""
    reach = capsule.length / 2 + EDGE[0]
    return tuple(
        slice(max(int(center - reach), 0), int(np.ceil(center + reach)) + 1)
        for center in (capsule.y, capsule.x)
    )


def _distance(capsule: Capsule, window: tuple[slice, slice], size: int) -> np.ndarray:
    """Signed distance in px from the window's pixels to the outline, (H, W) float32."""
    rows, columns = (np.arange(size, dtype=np.float32)[part] for part in window)
    return capsule.signed_distance(rows[:, None], columns)


def _place(
    inside: np.ndarray,
    window: tuple[slice, slice],
    instance_id: int,
    instance_map: np.ndarray,
    placed: dict[int, _Placed],
) -> bool:
    """Write an object into the map; leave all as it was and return False if it hides too much.

    Parameters:
        inside: (H, W) bool, the object in its window.
    """
    ids = instance_map[window]  # a view
    before = ids.copy()
    ids[inside] = instance_id
    for covered in np.unique(before[inside]):
        if covered and not _is_visible(instance_map, covered, *placed[covered]):
            ids[:] = before
            return False
    placed[instance_id] = _Placed(window, int(inside.sum()))
    return True


def _is_visible(
    instance_map: np.ndarray, instance_id: int, window: tuple[slice, slice], area: int
) -> bool:
    """Whether an object's pieces, whose pixels may meet at corners, are few and large enough."""
    import cv2

    mask = (instance_map[window] == instance_id).astype(np.uint8)
    pieces = cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA]  # 0: the rest
    smallest = max(MIN_PIECE_AREA, MIN_PIECE_SHARE * area)
    return 1 <= len(pieces) <= MAX_PIECES and pieces.min() >= smallest


def _paint(
    distance: np.ndarray, rim: np.ndarray, rng: np.random.Generator, image: np.ndarray
) -> None:
    """Paint an object over its window of the image, (H, W, 3) float32, in place."""
    depth = rng.normal(0, RIM_SHIFT_STD) - distance
    color = np.stack([np.interp(depth, rim[:, 0], channel) for channel in rim.T[1:]], axis=-1)
    outside, inside = EDGE
    coverage = np.clip((outside - distance) / (outside - inside), 0, 1)
    image += coverage[..., None] * (color - image)
