"""Figures of an evaluation: results beside the truth (Figures 3, 10 and 11) and those of lowest PQ
(Figure 12), proposals (Figure 9), iterations (Figure 5) and confidences (Figure 6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from adaptis.errors import ResultsError
from adaptis.evaluation.ground_truth import panoptic_truth
from adaptis.evaluation.panoptic_quality import panoptic_quality_of_images
from adaptis.evaluation.results import PredictionFolder
from adaptis.inference.fusion import classified_instances, fuse_panoptic
from adaptis.inference.iterations import IterationRecorder
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.pictures.drawing import draw_instances, draw_panoptic, enlarge, match_ids
from adaptis.pictures.figures import save_grid, save_heat_maps, save_iterations, save_proposals
from adaptis.preprocessing import resize

COLUMNS = ("Image", "Ground truth", "AdaptIS")
PICTURED_POINTS = 6  # confidence maps in the picture of proposals


def save_pictures(
    predictor: AdaptISPredictor,
    dataset,
    indices: range,
    predictions: PredictionFolder,
    folder: Path,
) -> None:
    """Results beside the truth, and for the first image proposals, confidences and iterations."""
    rows = [result_row(dataset, dataset[index], predictions) for index in indices]
    if not rows:
        return
    save_grid(folder / "results.png", COLUMNS, rows)

    set_pictured(predictor, dataset[indices[0]].image)
    recorder = IterationRecorder()
    points = predictor.aggregate(recorder).points_yx[:PICTURED_POINTS]
    maps = predictor.confidences(np.reshape(points, (-1, 2)))
    scores, peaks = predictor.proposals()
    image = predictor.working_image
    save_proposals(folder / "proposals.png", image, scores, peaks, list(zip(points, maps)))
    save_iterations(folder / "iterations.png", image, recorder)


def save_lowest(
    dataset, output: Path, predictions: PredictionFolder, count: int, path: Path
) -> list[tuple[str, float]]:
    """Figure 12: the images of lowest PQ, lowest first, with the truth and the result.

    Parameters:
        dataset: the split that was evaluated.
        output: folder of the evaluation.
        count: of images.
        path: of the PNG.

    Returns name and PQ of each. PQ is of the image alone, by the official evaluator.

    Raises ResultsError for an evaluation of other images, FileNotFoundError, and ValueError where
    its files contradict each other.
    """
    quality = panoptic_quality_of_images(
        output / "ground_truth.json",
        output / "ground_truth",
        output / "predictions.json",
        predictions.folder,
    )
    index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
    if missing := [image_id for image_id in quality if image_id not in index_of]:
        raise ResultsError(f"{output}: scored images that this data set lacks: {missing[:5]}")
    lowest = sorted((q for q in quality.items() if not np.isnan(q[1])), key=lambda q: q[1])[:count]
    found = [(dataset.names[index_of[image_id]], pq) for image_id, pq in lowest]
    if found:
        rows = [
            result_row(dataset, dataset[index_of[image_id]], predictions) for image_id, _ in lowest
        ]
        save_grid(path, COLUMNS, rows, [f"{name}\nPQ {100 * pq:.1f}" for name, pq in found])
    return found


def save_worst(dataset, name: str, predictions: PredictionFolder, ap: float, path: Path) -> None:
    """The image of a name with the truth, the result and its AP (``adaptis.evaluation.matching``)
    written beside it."""
    row = result_row(dataset, dataset[dataset.names.index(name)], predictions)
    save_grid(path, COLUMNS, [row], [f"{name}\nAP {100 * ap:.1f}"])


def save_confidences(
    predictor: AdaptISPredictor,
    images: Iterable[np.ndarray],
    count: int,
    category_ids: Collection[int] | None,
    path: Path,
) -> None:
    """Figure 6: images, their panoptic segmentation and the confidences of single objects.

    Parameters:
        images: (H, W, 3) uint8 RGB each.
        count: of objects an image, the largest.
        category_ids: of the objects; None for all.
        path: of the PNG.
    """
    style = {info["category_id"]: (info["color"], info["isthing"]) for info in predictor.classes}
    rows = []
    for image in images:
        set_pictured(predictor, image)
        aggregation, probabilities = predictor.aggregate(), predictor.class_probabilities()
        found = classified_instances(aggregation, predictor.classes)
        panoptic_seg, segments = fuse_panoptic(
            aggregation.instance_map,
            found,
            probabilities,
            probabilities.argmax(axis=0),
            predictor.classes,
        )
        areas = np.bincount(aggregation.instance_map.ravel())
        chosen = [i for i in found if category_ids is None or i["category_id"] in category_ids]
        chosen = sorted(chosen, key=lambda i: -areas[i["instance"]])[:count]
        points_yx = [instance["point_yx"] for instance in chosen]
        maps = predictor.confidences(np.reshape(points_yx, (-1, 2)))
        colors = {segment["id"]: style[segment["category_id"]] for segment in segments}
        image = predictor.working_image
        result = draw_panoptic(enlarge(image), enlarge(panoptic_seg), colors)
        rows.append((image, result, list(zip(points_yx, maps))))
    save_heat_maps(path, rows)


def result_row(dataset, sample, predictions: PredictionFolder) -> list[np.ndarray]:
    """The pictures of COLUMNS. Where there is one class of things, as in the toy problem, objects
    have their counterparts' colours."""
    style = {info.category_id: (info.color, info.isthing) for info in dataset.classes}
    truth, truth_ids, _ = panoptic_truth(sample, dataset.classes)
    result, segments, _ = predictions.read(sample.name)
    result_ids = {segment["id"]: segment["category_id"] for segment in segments}
    image = enlarge(sample.image)
    if sum(info.isthing for info in dataset.classes) == 1:
        things = np.isin(result, [i for i, c in result_ids.items() if style[c][1]]) * result
        matched = match_ids(things, sample.instance_map)
        return [image, *(draw_instances(image, enlarge(m)) for m in (sample.instance_map, matched))]
    return [
        image,
        *(
            draw_panoptic(image, enlarge(seg), {i: style[c] for i, c in ids.items()})
            for seg, ids in ((truth, truth_ids), (result, result_ids))
        ),
    ]


def set_pictured(predictor: AdaptISPredictor, image: np.ndarray) -> None:
    """Set an image to be pictured; of one that is segmented in tiles the first."""
    settings = predictor.settings
    if tile := settings.tile_size:
        image = resize(image, predictor.scaled_size(*image.shape[:2]))[:tile, :tile]
        predictor.settings = replace(settings, shortest_side=None, longest_side=None)
    predictor.set_image(image)
    predictor.settings = settings
