"""Pictures of what the method finds: arrays in, an RGB picture of the same size out.

``adaptis.pictures.figures`` puts them together into the figures of the paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

from adaptis.preprocessing import resize_labels, strips

GOLDEN = 0.618034  # steps of it around a circle never come close to each other soon
HUES = (-0.06, -0.03, 0.0, 0.03, 0.06)  # of a circle, from a class's: red to orange, not brown
SATURATIONS, VALUES = (0.55, 0.75, 1.0), (0.5, 0.65, 0.8, 1.0)  # of a class's shades
SHADES = ((0.8, 1.0), (0.65, 0.95), (1.0, 0.65))  # saturation and value, in turn
CONTOUR_SHADE = 0.35  # of an area's colour: visible on white paper and on photographs
VOID_COLOR = (90, 90, 90)
IGNORED_COLOR = (208, 0, 0)
ALPHA = 0.7  # shows photographs through, and colours still differ
FINE_SIZE = 350  # px: contours of one pixel look fine on a picture of this size


def instance_colors(count: int) -> np.ndarray:
    """Colours of instances 1 to ``count``: (count, 3) uint8 RGB, row 0 for instance 1.

    Neighbours in number differ strongly in hue; a larger count only adds colours at the end.
    """
    index = np.arange(count)
    hue = (0.6 + index * GOLDEN) % 1  # from blue: toy objects are red
    saturation, value = np.array(SHADES)[index % len(SHADES)].T
    return _to_uint8(255 * hsv_to_rgb(np.stack([hue, saturation, value], axis=1)))


def draw_instances(image: np.ndarray, instance_map: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Lay coloured, outlined instances over an image; where there is none, the image stays.

    Parameters:
        image: (H, W, 3) uint8 RGB; under the instances its brightness shows through.
        instance_map: (H, W) int ids, 0 where there is no instance. Equal ids, equal colours.
        alpha: opacity of the areas; their contours are opaque.

    Returns (H, W, 3) uint8 RGB.
    """
    palette = instance_colors(int(instance_map.max(initial=0)))
    picture = image.copy()
    for rows in strips(len(image)):
        above = min(rows.start, 1)  # a row around, for the contours
        ids, around = instance_map[rows], instance_map[rows.start - above : rows.stop + 1]
        contours = _contours(around)[above : above + len(ids)]
        areas, pixels = ids > 0, picture[rows]
        pixels[areas] = _blend(pixels[areas], palette[ids[areas] - 1], alpha, contours[areas])
    return picture


def draw_panoptic(
    image: np.ndarray,
    panoptic_seg: np.ndarray,
    segments: Mapping[int, tuple[tuple[int, int, int], bool]],
    alpha: float = ALPHA,
) -> np.ndarray:
    """Lay a panoptic map over an image: stuff in the colour of its class, things in shades.

    Parameters:
        image: (H, W, 3) uint8 RGB; its brightness shows through.
        panoptic_seg: (H, W) int segment ids; those that ``segments`` lacks are void, and grey.
        segments: segment id -> (RGB colour of its class, isthing). Of several things of a colour
            the first has just this colour, the others lighter, darker and related ones.
        alpha: opacity of the areas; their contours are opaque.

    Returns (H, W, 3) uint8 RGB.
    """
    colors = np.full(image.shape, VOID_COLOR, np.uint8)
    things_so_far: Counter[tuple[int, ...]] = Counter()
    for segment_id, (color, isthing) in segments.items():
        shades = _shades(tuple(color))
        colors[panoptic_seg == segment_id] = shades[things_so_far[tuple(color)] % len(shades)]
        things_so_far[tuple(color)] += isthing
    return _blend(image, colors, alpha, _contours(panoptic_seg))


def draw_iteration(
    image: np.ndarray,
    instance_map: np.ndarray,
    segmented: np.ndarray,
    ignored: np.ndarray | None = None,
) -> np.ndarray:
    """The state of the greedy algorithm (Figure 5): instances in colours, unknown areas grey,
    the others, which are segmented but no instance, nearly white.

    Parameters:
        image: (H, W, 3) uint8 RGB.
        instance_map: (H, W) int ids, 0 where there is no instance.
        segmented: (H, W) bool, S.
        ignored: (H, W) bool, a mask that wasn't added: outlined in red.

    Returns (H, W, 3) uint8 RGB.
    """
    gray = _gray(image)
    faint = _to_uint8(np.where(segmented[..., None], 225 + 0.12 * gray, 110 + 0.25 * gray))
    picture = draw_instances(np.repeat(faint, 3, axis=2), instance_map, alpha=0.9)
    if ignored is not None:
        outline = cv2.dilate(_contours(ignored).astype(np.uint8), np.ones((3, 3), np.uint8))
        picture[outline > 0] = IGNORED_COLOR
    return picture


def draw_frame(image: np.ndarray, frame) -> np.ndarray:
    """An iteration of the greedy algorithm that was recorded, see :func:`draw_iteration`.

    Parameters:
        image: (H, W, 3) uint8 RGB, the one of the run; if it is enlarged, so are the frame's maps.
        frame: of the IterationRecorder that was ``on_step`` of the run.

    Returns (H, W, 3) uint8 RGB.
    """
    step, segmented = frame.step, frame.segmented
    known = frame.instance_map * segmented  # every pixel gets an object only in the end
    known, segmented, mask = (
        resize_labels(a, image.shape[:2]) for a in (known, segmented, step.mask)
    )
    return draw_iteration(image, known, segmented, None if step.accepted else mask)


def enlarge(array: np.ndarray, size: int = FINE_SIZE) -> np.ndarray:
    """Repeat pixels until the longer side has at least ``size`` px; larger arrays stay as they are.

    For small images and their maps, before drawing: contours then are finer than their pixels.

    Parameters:
        array: (H, W) or (H, W, C), image or map.
    """
    factor = -(-size // max(array.shape[:2]))
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def match_ids(instance_map: np.ndarray, reference_map: np.ndarray) -> np.ndarray:
    """Renumber instances like their counterparts in another map, so that colours agree.

    Parameters:
        instance_map, reference_map: (H, W) int ids, 0 where there is no instance.

    Returns (H, W) int32: ids of the reference where the IoU is above 0.5, which one instance at
    most has; new ids above all of the reference's for the others.
    """
    matched = np.zeros(instance_map.shape, np.int32)
    unused = int(reference_map.max(initial=0))
    for instance_id in np.unique(instance_map[instance_map > 0]):
        mask = instance_map == instance_id
        candidate = np.bincount(reference_map[mask]).argmax()
        counterpart = reference_map == candidate
        if candidate and 2 * (mask & counterpart).sum() > (mask | counterpart).sum():
            matched[mask] = candidate
        else:
            unused += 1
            matched[mask] = unused
    return matched


def match_segments(
    panoptic_seg: np.ndarray,
    categories: Mapping[int, int],
    reference: np.ndarray,
    reference_categories: Mapping[int, int],
) -> tuple[np.ndarray, dict[int, int]]:
    """Renumber segments like those of the same category that they match in another map, so that
    colours agree, see ``match_ids``.

    Parameters:
        panoptic_seg, reference: (H, W) int segment ids, 0 where there is none.
        categories, reference_categories: segment id -> category.

    Returns (H, W) int32, and category by id: all of the reference's, then those that match none.
    """
    renumbered, found = np.zeros(panoptic_seg.shape, np.int32), dict(reference_categories)
    unused = max(found, default=0) + 1
    for category in dict.fromkeys(categories.values()):
        ours, theirs = (
            ids * np.isin(ids, [i for i, c in of.items() if c == category])
            for ids, of in ((panoptic_seg, categories), (reference, reference_categories))
        )
        matched = match_ids(ours, theirs)
        for id_ in np.unique(matched[matched > 0]).tolist():
            new_id = id_
            if reference_categories.get(id_) != category:  # matches none
                new_id, unused = unused, unused + 1
            renumbered[matched == id_] = new_id
            found[new_id] = category
    return renumbered, found


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _gray(colors: np.ndarray) -> np.ndarray:
    """Brightness: (..., 3) RGB -> (..., 1) float."""
    return colors @ np.array([[0.299], [0.587], [0.114]])  # ITU-R BT.601, as OpenCV's


@cache
def _shades(color: tuple[int, ...]) -> np.ndarray:
    """(61, 3) uint8 RGB of similar hue, the first ``color`` itself, each next one the farthest from
    all before as eyes see it."""
    hue = rgb_to_hsv(np.array(color) / 255)[0]
    shades = np.stack(np.meshgrid(np.add(hue, HUES) % 1, SATURATIONS, VALUES), axis=-1)
    colors = np.concatenate([[np.array(color) / 255], hsv_to_rgb(shades.reshape(-1, 3))])
    lab = cv2.cvtColor(colors[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    order, distance = [0], np.linalg.norm(lab - lab[0], axis=1)
    while len(order) < len(colors):
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[order[-1]], axis=1))
        distance[order] = -1
    return _to_uint8(255 * colors[order])


def _contours(ids: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels beside one of a lower id, so contours are one pixel wide. 0 has none."""
    ids = ids.astype(np.float64)  # exact, and OpenCV doesn't erode int32
    return ids > cv2.erode(ids, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))


def _blend(image: np.ndarray, colors: np.ndarray, alpha: float, contours: np.ndarray) -> np.ndarray:
    """Colours over the brightness of an image, dark on contours.

    Parameters:
        image, colors: (..., 3) uint8 RGB.
        contours: (...) bool.
    """
    # the image's own colours would mix with these: two instances on red both look red
    blended = alpha * colors + (1 - alpha) * _gray(image)
    return _to_uint8(np.where(contours[..., None], CONTOUR_SHADE * colors, blended))
