"""What the servers take of a test split, whose labels aren't public (Tables 4 and 6).

All take panoptic segmentations in COCO's format: a zip with one JSON and a folder of its name with
the PNGs. Cityscapes' takes label maps and instances too, a zip each.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptis.disk import appears_whole
from adaptis.evaluation.cityscapes import write_cityscapes_files
from adaptis.evaluation.results import PredictionFolder, panoptic_annotation, read_prediction
from adaptis.progress import progress

PANOPTIC_NAMES = {
    "cityscapes": "cityscapes_panoptic_{split}",  # what evalPanopticSemanticLabeling looks for
    "coco": "panoptic_{split}_adaptis_results",  # cocodataset.org/#upload: [type]_[testset]_[alg]
    "mapillary": "panoptic_{split}_adaptis_results",  # its challenge takes COCO's format
}


def write_submission(
    dataset,
    indices: Sequence[int],
    predictions: PredictionFolder,
    categories: list[dict],
    output: Path,
) -> list[Path]:
    """Write the files to hand in.

    Parameters:
        dataset: a split without labels.
        indices: of the images.
        predictions: of these images.
        categories: see ``score_predictions``.
        output: the zips go to ``submission`` in it, for Cityscapes what is in them to
            ``cityscapes``, too.

    Returns the paths of the zips.

    Raises ResultsError where a prediction is missing, damaged or of another data set, DataError
    where an image can't be read, and DiskError where a file can't be written.
    """
    annotations, pngs = [], {}
    stem = PANOPTIC_NAMES[dataset.name].format(split=dataset.split)
    for index in progress(indices, desc="collecting", unit="image"):
        name, png = dataset.names[index], predictions.file_name(dataset.names[index])
        size = dataset[index].image.shape[:2]
        _, records, _ = read_prediction(predictions, name, size, categories)
        annotations.append(panoptic_annotation(dataset.image_ids[index], png, records))
        pngs[f"{stem}/{png}"] = predictions.folder / png
    folder = output / "submission"
    archives = [folder / f"{stem}.zip"]
    _write_zip(archives[0], pngs, {f"{stem}.json": json.dumps({"annotations": annotations})})
    if dataset.name == "cityscapes":
        names = [dataset.names[index] for index in indices]
        write_cityscapes_files(predictions, names, categories, output / "cityscapes")
        for part in ("semantic", "instances"):
            archives.append(folder / f"cityscapes_{part}_{dataset.split}.zip")
            files = sorted((output / "cityscapes" / part).iterdir())
            _write_zip(archives[-1], {file.name: file for file in files})
    return archives


def _write_zip(
    path: Path, files: Mapping[str, Path], texts: Mapping[str, str] | None = None
) -> None:
    """Write a zip, by the names within it; PNGs are compressed already."""
    with appears_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, text in (texts or {}).items():
            archive.writestr(name, text, zipfile.ZIP_DEFLATED)
        for name, source in files.items():
            archive.write(source, name)
