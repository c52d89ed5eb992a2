"""Figures of an evaluation: results beside the truth (Figures 3, 10 and 11) and those of lowest PQ
(Figure 12), proposals (Figure 9), iterations (Figure 5) and confidences (Figure 6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
from adaptis.pictures.drawing import draw_instances, draw_panoptic, enlarge, match_segments
from adaptis.pictures.figures import save_grid, save_heat_maps, save_iterations, save_proposals
from adaptis.preprocessing import resize

COLUMNS = ("Image", "Ground truth", "AdaptIS")
PICTURED_POINTS = 6  # confidence maps in the picture of proposals


def save_pictures(
    predictor: AdaptISPredictor,
    dataset,
    indices: Sequence[int],
    predictions: PredictionFolder,
    folder: Path,
) -> None:
    """Results beside the truth, and for the first image proposals, confidences and iterations."""
    if not indices:
        return
    save_results(folder / "results.png", dataset, indices, predictions)

    set_pictured(predictor, dataset[indices[0]].image)
    recorder = IterationRecorder()
    points = predictor.aggregate(recorder).points_yx[:PICTURED_POINTS]
    maps = predictor.confidences(np.reshape(points, (-1, 2))[:, ::-1])
    scores, peaks_xy = predictor.proposals()
    image = predictor.working_image
    threshold = predictor.settings.peak_threshold
    found = list(zip(points, maps))
    save_proposals(folder / "proposals.png", image, scores, peaks_xy[:, ::-1], threshold, found)
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
        indices = [index_of[image_id] for image_id, _ in lowest]
        save_results(path, dataset, indices, predictions, [f"PQ {100 * pq:.1f}" for _, pq in found])
    return found


def save_worst(dataset, name: str, predictions: PredictionFolder, ap: float, path: Path) -> None:
    """The image of a name with the truth, the result and its AP (``adaptis.evaluation.matching``)
    written beside it."""
    index = dataset.names.index(name)
    save_results(path, dataset, [index], predictions, [f"AP {100 * ap:.1f}"])


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
        maps = predictor.confidences(np.reshape(points_yx, (-1, 2))[:, ::-1])
        colors = {segment["id"]: style[segment["category_id"]] for segment in segments}
        image = predictor.working_image
        result = draw_panoptic(enlarge(image), enlarge(panoptic_seg), colors)
        rows.append((image, result, list(zip(points_yx, maps))))
    save_heat_maps(path, rows)


def save_results(
    path: Path,
    dataset,
    indices: Sequence[int],
    predictions: PredictionFolder,
    notes: Sequence[str] = (),
) -> None:
    """Images, their truth, if there is one, and their results, with their names and a legend of the
    classes in them. Instances have their counterparts' colours.

    Parameters:
        path: of the PNG.
        indices: of the images, at least one.
        notes: of each image, below its name.
    """
    has_one_thing = sum(info.isthing for info in dataset.classes) == 1  # as the toy problem
    rows, present = [], set()
    for index in indices:
        sample = dataset[index]
        truth, truth_ids, _ = panoptic_truth(sample, dataset.classes)
        result, segments, _ = predictions.read(sample.name)
        result_ids = {segment["id"]: segment["category_id"] for segment in segments}
        row = [match_segments(result, result_ids, truth, truth_ids)]
        if dataset.labelled:
            row.insert(0, (truth, truth_ids))
        draw = _draw_objects if has_one_thing else _draw_classes
        image = enlarge(sample.image)
        rows.append([image, *(draw(image, enlarge(seg), ids, dataset.classes) for seg, ids in row)])
        present |= {*truth_ids.values(), *result_ids.values()}
    names = [dataset.names[index] for index in indices]
    labels = [f"{name}\n{note}" for name, note in zip(names, notes)] if notes else names
    legend = {c.name: c.color for c in dataset.classes if c.category_id in present}
    columns = COLUMNS if dataset.labelled else (COLUMNS[0], COLUMNS[-1])
    save_grid(path, columns, rows, labels, None if has_one_thing else legend)


def _draw_objects(image, panoptic_seg, categories: dict[int, int], classes) -> np.ndarray:
    """The things in colours of their own, where one class has them all."""
    things = {info.category_id for info in classes if info.isthing}
    ids = [i for i, category in categories.items() if category in things]
    return draw_instances(image, panoptic_seg * np.isin(panoptic_seg, ids))


def _draw_classes(image, panoptic_seg, categories: dict[int, int], classes) -> np.ndarray:
    style = {info.category_id: (info.color, info.isthing) for info in classes}
    return draw_panoptic(image, panoptic_seg, {i: style[c] for i, c in categories.items()})


def set_pictured(predictor: AdaptISPredictor, image: np.ndarray) -> None:
    """Set an image to be pictured; of one that is segmented in tiles the first."""
    settings = predictor.settings
    if tile := settings.tile_size:
        image = resize(image, predictor.scaled_size(*image.shape[:2]))[:tile, :tile]
        predictor.settings = replace(settings, shortest_side=None, longest_side=None)
    predictor.set_image(image)
    predictor.settings = settings
