"""What a training has to know of a data set before it starts: sizes of images and objects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from tqdm import trange


class Statistics(NamedTuple):
    """Of all images of a data set; crowds don't count as objects."""

    sizes: list[tuple[int, int]]  # (height, width) in pixels, an image each
    areas: np.ndarray  # (N,) int64, pixels of each object
    extents: np.ndarray  # (N,) int64, pixels: the longer side of each object's box


def measure(dataset) -> Statistics:
    """Reads every image. Raises DataError where one can't be read."""
    sizes, areas, extents = [], [], []
    for index in trange(len(dataset), desc="measuring objects", leave=False, unit="image"):
        sample = dataset[index]
        sizes.append(sample.instance_map.shape)
        counts = np.bincount(sample.instance_map.ravel())
        for id_, box in enumerate(ndimage.find_objects(sample.instance_map), start=1):
            if box is not None and not sample.instances[id_].iscrowd:
                areas.append(counts[id_])
                extents.append(max(side.stop - side.start for side in box))
    return Statistics(sizes, np.array(areas, np.int64), np.array(extents, np.int64))
