"""Predictions on disk.

Of each image there are ``<name>.png`` with the segments' ids in COCO's panoptic format,
``semantic/<name>.png`` with the class index of every pixel, coded like the ids, and ``<name>.json``
with the image's own name, what made the prediction, segments_info, a list of the segments with id,
category_id and score, and the sha256 of all that. Files made elsewhere may lack all but the
segments. ``<name>`` is the image's, or made to fit, see ``file_stem``.

Files appear whole or not at all, so an interrupted evaluation goes on where it stopped; a folder
remembers what made it, so results of different settings can't mix.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from adaptis.disk import write_atomically
from adaptis.errors import ResultsError
from adaptis.evaluation.panoptic_quality import segments_info, write_panoptic_png
from adaptis.image_files import read_panoptic_png
from adaptis.json_types import Entry, parse_json
from adaptis.preprocessing import Size
from adaptis.run_record import claim_folder

PREDICT_AGAIN = "run with --weights, which predicts again what is missing or damaged"
LONGEST_NAME = 100  # bytes of a file's, which may have 255 with what is put before and behind it


def file_stem(name: str) -> str:
    """What an image's files are called, without ending: another for each image, and nothing that a
    later step can't take, such as spaces (Cityscapes' evaluator) or folders.

    Its name where that is letters, digits, "_", "-" and "."; else what is left of it and a
    checksum.
    """
    plain = re.fullmatch(r"[\w-][\w.-]*", name) and len(name.encode()) <= LONGEST_NAME
    if plain and not re.search(r"-[0-9a-f]{16}$", name):  # which looks like what is made below
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{re.sub('[^a-zA-Z0-9_]', '_', name)[:LONGEST_NAME]}-{digest}"


class PredictionFolder:
    """One run's predictions.

    Parameters:
        folder: made if it is missing.
        run: JSON-able; what made the predictions (weights, settings, data). None accepts any
            existing folder, for scoring only.

    Raises ResultsError where the folder holds predictions of another run.
    """

    def __init__(self, folder: Path | str, run: dict | None = None):
        self.folder = Path(folder)
        self._run: dict | None = None
        if run is None:
            if not self.folder.is_dir():
                raise ResultsError(f"{self.folder}: no such folder of predictions")
            return
        self._run = json.loads(json.dumps(run))
        claim_folder(self.folder, self._run, "*.json")

    def write(
        self,
        name: str,
        panoptic_seg: np.ndarray,
        segments: list[dict],
        class_map: np.ndarray,
        proposals: tuple[int, int] | None = None,
    ) -> None:
        """Write one image's prediction.

        Parameters:
            name: the image's.
            panoptic_seg, segments: see ``adaptis.inference.fusion.fuse_panoptic``.
            class_map: (H, W) integer class indices of the semantic branch, for mIoU.
            proposals: how many points were proposed and how many peaks max_proposals left out,
                where points are proposals.

        Raises DiskError where it can't be written.
        """
        categories = {segment["id"]: segment["category_id"] for segment in segments}
        scores = {segment["id"]: segment["score"] for segment in segments}
        records = segments_info(panoptic_seg, categories)
        for record in records:
            record["score"] = round(scores[record["id"]], 6)
        png, text, semantic = self._paths(name)
        write_panoptic_png(png, panoptic_seg)
        write_panoptic_png(semantic, class_map)
        content: dict[str, Any] = {"name": name, "run": self._run, "segments_info": records}
        if proposals is not None:
            content["num_proposals"], content["num_dropped_proposals"] = proposals
        content["sha256"] = _sha256(png, semantic, content)
        write_atomically(text, json.dumps(content).encode())

    def read(self, name: str) -> tuple[np.ndarray, list[dict], np.ndarray]:
        """One image's segment ids (H, W) int32, segment records and class map (H, W) int32.

        Areas and boxes of the records are counted in the PNG.

        Raises ResultsError when a file is missing or damaged, they don't fit each other, or are
        of another image or run.
        """
        png, text, semantic = self._paths(name)
        try:
            panoptic_seg, class_map = read_panoptic_png(png), read_panoptic_png(semantic)
            if class_map.shape != panoptic_seg.shape:
                raise ValueError(f"{semantic} is {class_map.shape}, the PNG {panoptic_seg.shape}")
            content = Entry(parse_json(text.read_bytes()), text.name)
            written = [
                (record.whole("id"), record.whole("category_id"), record.number("score"))
                for record in content.entries("segments_info")
            ]
            scores = {id_: float(score) for id_, _, score in written}
            if len(scores) < len(written):
                raise ValueError(f"segments of {text.name} share an id")
            records = segments_info(panoptic_seg, {id_: category for id_, category, _ in written})
            self._check_origin(name, content.content)
            sha256 = content.text("sha256", default=None)
            if sha256 and sha256 != _sha256(png, semantic, content.content):
                raise ValueError("its sha256 differs")
        except (OSError, ValueError) as error:
            raise ResultsError(f"{png}: no usable prediction: {error}; {PREDICT_AGAIN}") from error
        return panoptic_seg, [{**r, "score": scores[r["id"]]} for r in records], class_map

    def proposals(self, name: str) -> tuple[int, int] | None:
        """How many points were proposed in an image whose prediction is there, and how many peaks
        left out; None where the file doesn't say it."""
        content = parse_json(self._paths(name)[1].read_bytes())
        if "num_proposals" not in content:
            return None
        return content["num_proposals"], content.get("num_dropped_proposals", 0)

    def has(self, name: str) -> bool:
        """Whether one image's prediction is there and whole."""
        try:
            self.read(name)
        except ResultsError:
            return False
        return True

    def file_name(self, name: str) -> str:
        """Of an image's PNG within the folder."""
        return f"{file_stem(name)}.png"

    def _check_origin(self, name: str, content: dict) -> None:
        if content.get("name", name) != name:
            raise ValueError(f"it is of image {content['name']!r}")
        if self._run is not None and content.get("run", self._run) != self._run:
            raise ValueError("another run made it")

    def _paths(self, name: str) -> tuple[Path, Path, Path]:
        folder, stem = self.folder, file_stem(name)
        return folder / f"{stem}.png", folder / f"{stem}.json", folder / "semantic" / f"{stem}.png"


def _sha256(png: Path, semantic: Path, content: dict) -> str:
    """Of one image's prediction, hexadecimal: its name, run and segments too; of earlier files,
    which have no name, the segments."""
    signed = {key: value for key, value in content.items() if key != "sha256"}
    signed = signed if "name" in content else content["segments_info"]
    text = json.dumps(signed, sort_keys=True).encode()
    return hashlib.sha256(png.read_bytes() + semantic.read_bytes() + text).hexdigest()


def panoptic_annotation(image_id: int | str, file_name: str, records: list[dict]) -> dict:
    """An image's entry in the JSON that is handed in (cocodataset.org/#format-results)."""
    return {"image_id": image_id, "file_name": file_name, "segments_info": records}


def read_prediction(
    predictions: PredictionFolder, name: str, size: Size, categories: list[dict]
) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """``predictions.read``, compared with the data set.

    Parameters:
        size: (height, width) of the image.
        categories: see ``score_predictions``.

    Raises ResultsError when it is missing, damaged or of another data set.
    """
    panoptic_seg, records, class_map = predictions.read(name)
    unknown = {r["category_id"] for r in records} - {category["id"] for category in categories}
    problem = None
    if panoptic_seg.shape != tuple(size):
        problem = f"is {panoptic_seg.shape} (height, width), its image {tuple(size)}"
    elif unknown:
        problem = f"the data set has no categories {sorted(unknown, key=str)[:5]}"
    elif class_map.max() >= len(categories):
        problem = f"class index {class_map.max()} in semantic/, of {len(categories)} classes"
    if problem:
        path = predictions.folder / predictions.file_name(name)
        raise ResultsError(f"{path}: {problem}; score predictions that were made for this data set")
    return panoptic_seg, records, class_map
