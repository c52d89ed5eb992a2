"""Small street-like scenes with exact labels: what ``datasets.synthetic`` writes to disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

STUFF = ("sky", "building", "vegetation", "sidewalk", "road")
THINGS = ("person", "car", "bus")
KINDS = ("void", *STUFF, *THINGS)
"""The classes of a scene by the numbers of its class map."""

MIN_VISIBLE = 100  # px of a 128 x 256 scene: training ignores objects under 80

Polygon = Sequence[tuple[float, float]]  # (x, y) corners; an object's box is 0 .. 1 on both axes


@dataclass
class Scene:
    """A picture with its truth, painted from back to front.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        class_map: (H, W) uint8 places in KINDS.
        object_map: (H, W) int32, 0 or the number of an object, from 1.
        objects: (kind, iscrowd) of object 1, 2, ...
    """

    image: np.ndarray
    class_map: np.ndarray
    object_map: np.ndarray
    objects: list[tuple[str, bool]] = field(default_factory=list)

    def paint(self, mask: np.ndarray, kind: str, color: np.ndarray | Sequence[float]) -> None:
        """Paint stuff or void; ``color`` is one RGB or (H, W, 3)."""
        self.image[mask] = np.broadcast_to(color, self.image.shape)[mask]
        self.class_map[mask] = KINDS.index(kind)
        self.object_map[mask] = 0

    def add_object(
        self, kind: str, parts: list[tuple[np.ndarray, Sequence[float]]], iscrowd: bool = False
    ) -> None:
        """Paint an object of (mask, RGB) parts, unless it or another would hardly be seen."""
        mask = np.any([part for part, _ in parts], axis=0)
        smallest = MIN_VISIBLE * self.class_map.size / (128 * 256)
        kept = np.bincount(self.object_map[~mask], minlength=len(self.objects) + 1)[1:]
        if np.count_nonzero(mask) < smallest or np.any(kept < smallest):
            return
        for part, color in parts:
            self.paint(part, kind, color)
        self.objects.append((kind, iscrowd))
        self.object_map[mask] = len(self.objects)


def make_scene(rng: np.random.Generator, size: tuple[int, int] = (128, 256)) -> Scene:
    """Draw one scene: sky, houses, trees, pavement and road, then objects, the nearest last.

    Parameters:
        rng: everything random comes from it.
        size: (height, width) in pixels.
    """
    scene = Scene(
        np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), np.zeros(size, np.int32)
    )
    horizon = rng.uniform(0.36, 0.46) * size[0]
    _paint_surroundings(scene, horizon, rng)
    _add_objects(scene, horizon, rng)
    if rng.random() < 0.3:
        _paint_bonnet(scene)
    noisy = scene.image * rng.uniform(0.75, 1.15) + rng.normal(0, 6, scene.image.shape)
    scene.image = noisy.clip(0, 255).astype(np.uint8)
    return scene


def _paint_surroundings(scene: Scene, horizon: float, rng: np.random.Generator) -> None:
    """Paint sky, houses, trees, pavement and road. horizon: the row where the ground begins."""
    height, width = scene.class_map.shape
    rows, columns = np.mgrid[:height, :width]
    light = 1 - 0.35 * rows[..., None] / horizon
    scene.paint(rows >= 0, "sky", (np.array([150, 195, 245]) * light + 60).clip(0, 255))
    left = -rng.uniform(0, 0.15) * width
    while left < width:
        house, top = rng.uniform(0.12, 0.3) * width, horizon * rng.uniform(0.1, 0.75)
        inside = (columns >= left) & (columns < left + house) & (rows >= top) & (rows < horizon + 3)
        pane = height / 16  # a window and the wall beside it
        windows = ((rows - top) % pane > 0.55 * pane) & ((columns - left) % pane > 0.5 * pane)
        wall = np.array([120, 100, 90]) + rng.uniform(-30, 50) + rng.uniform(-15, 15, 3)
        scene.paint(inside, "building", np.where(windows[..., None], wall * 0.5, wall))
        left += house + rng.choice([0, 0.12 * width])
    leaves = rng.normal(0, 22, (height, width, 1)) + np.array([55, 105, 40])
    for _ in range(rng.integers(2, 6)):
        x, y = rng.uniform(0, width), horizon - rng.uniform(0, 0.12) * height
        radius = rng.uniform(0.07, 0.14) * height
        crown = ((columns - x) / 1.4) ** 2 + (rows - y) ** 2 < radius**2
        scene.paint(crown & (rows < horizon + 4), "vegetation", leaves.clip(0, 255))
    scene.paint(rows >= horizon, "sidewalk", np.array([165, 155, 150]) + rng.uniform(-12, 12))
    vanishing, near, far = rng.uniform(0.4, 0.6) * width, 0.62 * width, 0.18 * width
    depth = (rows - horizon) / (height - horizon)
    road = (rows >= horizon) & (np.abs(columns - vanishing) < far + (near - far) * depth)
    scene.paint(road, "road", np.array([85, 85, 90]) + rng.uniform(-15, 15))


def _add_objects(scene: Scene, horizon: float, rng: np.random.Generator) -> None:
    """Put things and crowds on the ground, the nearest last."""
    height, width = size = scene.class_map.shape
    for depth in np.sort(rng.uniform(0.12, 0.95, rng.integers(4, 10))):
        base = horizon + depth * (height - horizon)
        x = rng.uniform(0.03, 0.97) * width
        if depth < 0.4 and rng.random() < 0.1:
            crowd = [
                part
                for shift in rng.uniform(-0.06, 0.06, 6) * width
                for part in _draw_object("person", x + shift, base, depth, size, rng)
            ]
            scene.add_object("person", crowd, iscrowd=True)
        else:
            kind = str(rng.choice(THINGS, p=(0.45, 0.4, 0.15)))
            scene.add_object(kind, _draw_object(kind, x, base, depth, size, rng))


def _paint_bonnet(scene: Scene) -> None:
    """Paint the bonnet of the car that takes the picture, void, unless it would hide objects."""
    height, width = scene.class_map.shape
    rows, columns = np.mgrid[:height, :width]
    bonnet = ((columns - width / 2) / 0.6) ** 2 + ((rows - height) / 0.12) ** 2 < height**2
    hidden = np.bincount(scene.object_map[bonnet], minlength=len(scene.objects) + 1)[1:]
    if not hidden.any():
        scene.paint(bonnet, "void", (30, 32, 36))


def _draw_object(
    kind: str, x: float, base: float, depth: float, size: tuple[int, int], rng: np.random.Generator
) -> list[tuple[np.ndarray, Sequence[float]]]:
    """(mask, RGB) parts of a thing that stands on row ``base`` around column ``x``."""
    import cv2  # datasets.synthetic --help needn't wait for it

    parts, heights, aspect = {"person": _person, "car": _car, "bus": _bus}[kind](rng)
    box_height = (heights[0] + (heights[1] - heights[0]) * depth) * size[0]
    box_width = box_height * aspect * rng.uniform(0.9, 1.1)
    drawn = []
    for polygon, color in parts:
        corners = np.asarray(polygon) * (box_width, box_height)
        corners += (x - box_width / 2, base - box_height)
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1)
        drawn.append((mask.astype(bool), color))
    return drawn


# Each shape: (polygon, RGB) parts, height far away and close by as part of the image's, aspect.
Shape = tuple[list[tuple[Polygon, Sequence[float]]], tuple[float, float], float]


def _person(rng: np.random.Generator) -> Shape:
    shirt, trousers = rng.uniform(40, 230, 3), rng.uniform(20, 90, 3)
    return (
        [
            (_box(0.22, 0.55, 0.46, 1), trousers),
            (_box(0.54, 0.55, 0.78, 1), trousers),
            (_box(0.08, 0.2, 0.92, 0.6), shirt),
            (_ellipse(0.5, 0.11, 0.3, 0.11), (215, 165, 135)),
        ],
        (0.2, 0.5),
        0.36,
    )


def _car(rng: np.random.Generator) -> Shape:
    paint = np.array([(190, 30, 30), (30, 60, 170), (225, 225, 225), (40, 130, 60)])[
        rng.integers(4)
    ] + rng.uniform(-25, 25, 3)
    cabin = ((0.18, 0.5), (0.32, 0.05), (0.7, 0.05), (0.86, 0.5))
    glass = ((0.26, 0.45), (0.36, 0.13), (0.66, 0.13), (0.77, 0.45))
    return (
        [
            (cabin, paint * 0.8),
            (glass, (150, 190, 205)),
            (_box(0, 0.42, 1, 0.86), paint),
            (_ellipse(0.22, 0.85, 0.1, 0.16), (15, 15, 15)),
            (_ellipse(0.78, 0.85, 0.1, 0.16), (15, 15, 15)),
        ],
        (0.13, 0.36),
        2.0,
    )


def _bus(rng: np.random.Generator) -> Shape:
    paint = np.array([235, 180, 30]) + rng.uniform(-20, 20, 3)
    windows = [
        (_box(left, 0.15, left + 0.16, 0.45), (60, 70, 80)) for left in np.arange(0.06, 0.9, 0.2)
    ]
    wheels = [(_ellipse(x, 0.9, 0.08, 0.1), (15, 15, 15)) for x in (0.2, 0.8)]
    return [(_box(0, 0, 1, 0.9), paint), *windows, *wheels], (0.22, 0.55), 1.7


def _box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Polygon:
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return [(x + radius_x * np.cos(a), y + radius_y * np.sin(a)) for a in angles]
