"""What a segmentation is written as, and the folder that holds it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from adaptis.disk import errors_named, write_atomically
from adaptis.errors import ResultsError
from adaptis.image_files import png_of
from adaptis.inference.images import ImageError
from adaptis.json_types import FormatError, parse_json
from adaptis.pictures.drawing import draw_instances
from adaptis.run_record import RUN_FILE, claim_folder
from adaptis.segmenting.objects import Segmentation

ENDINGS = {"labels": ".png", "json": ".json", "overlay": ".png", "csv": ".csv"}
MARKS = ".finished"  # of each finished image a file in this folder
MAX_OBJECTS = 2**16 - 1  # of a 16-bit label map
COLUMNS = (
    *("id", "area", "box_x", "box_y", "box_width", "box_height"),
    *("centroid_x", "centroid_y", "confidence"),
)


def label_map_png(segmentation: Segmentation) -> bytes:
    """A PNG of 16 bits a pixel: 0 background, 1, 2, ... the objects.

    Raises ImageError for more objects than 16 bits can count.
    """
    highest = int(segmentation.label_map.max(initial=0))
    if highest > MAX_OBJECTS:
        raise ImageError(
            f"{highest} objects, and a label map of 16 bits holds {MAX_OBJECTS}: leave labels out "
            "of --formats, or cut the image"
        )
    return png_of(segmentation.label_map.astype(np.uint16))


def coco_results_json(segmentation: Segmentation, image_id: str) -> bytes:
    """COCO's results: image_id, category_id, segmentation (compressed RLE), bbox, area and score of
    each object; its id is that of the label map."""
    left_out = {"centroid"}
    records = [
        {"image_id": image_id, **{k: v for k, v in found.items() if k not in left_out}}
        for found in segmentation.objects
    ]
    return json.dumps(records).encode()


def overlay_png(segmentation: Segmentation, image: np.ndarray) -> bytes:
    """A PNG of the objects in colours over the image (H, W, 3) uint8 RGB."""
    return png_of(draw_instances(image, segmentation.label_map))


def objects_csv(segmentation: Segmentation, class_names: dict[int, str]) -> bytes:
    """A table with an object a line: COLUMNS, pixels all, and the name of the class where there is
    more than one.

    Parameters:
        class_names: category_id -> name, of the thing classes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with_class = len(class_names) > 1
    writer.writerow([*COLUMNS, "category"] if with_class else COLUMNS)
    for found in segmentation.objects:
        centroid = [round(v, 2) for v in found["centroid"]]
        row = [found["id"], found["area"], *found["bbox"], *centroid, round(found["score"], 4)]
        writer.writerow([*row, class_names[found["category_id"]]] if with_class else row)
    return text.getvalue().encode()


class OutputFolder:
    """A run's results: ``labels/NAME.png`` and so on, of each image those of the formats, and
    ``.finished/NAME.json``, which says that they are all there.

    Parameters:
        folder: made if it is missing.
        formats: of ENDINGS.
        run: JSON-able; what makes the results (weights, settings). Formats can be added later.

    Raises ResultsError where the folder holds results of another run, or in folders called like
    ours files of something else: annotations are kept in ``labels``, too.
    """

    def __init__(self, folder: Path | str, formats: Iterable[str], run: dict):
        self.folder, self.formats = Path(folder), tuple(formats)
        self._run = json.loads(json.dumps(run))
        self._check_nobody_elses()
        claim_folder(self.folder, self._run, f"{MARKS}/**/*.json")

    def write(self, name: str, contents: dict[str, bytes], image_sha256: str) -> None:
        """Write an image's files; ``contents`` has one for each format. Raises DiskError, and of it
        FileNameError where the file system doesn't take their name."""
        if not self._is_of(name, image_sha256):  # nothing may stay of the image that was there
            others = [self._path(kind, name) for kind in set(ENDINGS) - set(contents)]
            for path in (self._mark(name), *others):
                with errors_named(path):
                    path.unlink(missing_ok=True)
        for kind, content in contents.items():
            write_atomically(self._path(kind, name), content)
        write_atomically(self._mark(name), json.dumps(self._facts(image_sha256)).encode())

    def has(self, name: str, image_sha256: str) -> bool:
        """Whether all files of an image are there, and are of this very image. Raises FileNameError
        where they can't have their name, DiskError where they can't be read."""
        return self._is_of(name, image_sha256) and all(
            self._path(kind, name).is_file() for kind in self.formats
        )

    def _is_of(self, name: str, image_sha256: str) -> bool:
        """Whether the files that are there are of this very image, and complete."""
        mark = self._mark(name)
        with errors_named(mark):
            try:
                facts = parse_json(mark.read_bytes())
            except (FileNotFoundError, FormatError):  # not finished, or cut
                return False
        return facts == self._facts(image_sha256)

    def _check_nobody_elses(self) -> None:
        if (self.folder / RUN_FILE).exists() or any(self.folder.glob(f"{MARKS}/**/*.json")):
            return
        for kind in ENDINGS:
            if (self.folder / kind).is_dir() and any((self.folder / kind).iterdir()):
                raise ResultsError(
                    f"{self.folder / kind}: holds files that no run of segment.py wrote, and would "
                    "get its results too; choose another --output"
                )

    def _facts(self, image_sha256: str) -> dict:
        return {"image_sha256": image_sha256, "run": self._run}

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}{ENDINGS[kind]}"

    def _mark(self, name: str) -> Path:
        """Written last: an image's files are complete, of which image and which run."""
        return self.folder / MARKS / f"{name}.json"
