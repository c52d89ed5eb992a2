"""Draw the figures in this folder: ``make figures``. Those of the toy problem are drawn with the
shipped weights; those of longer runs are taken from where the commands of the pages left them."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from adaptis import AdaptISPredictor
from adaptis.arguments import NOTHING_KEPT, run_script
from adaptis.evaluation.options import parse_arguments
from adaptis.evaluation.script import evaluate
from adaptis.inference.loading import load_predictor
from adaptis.inference.settings import DENSE_SCENES
from adaptis.pictures.drawing import draw_instances, enlarge, match_ids
from adaptis.pictures.figures import save_grid, save_points
from datasets.toy import ToyDataset

HERE = Path(__file__).parent
WEIGHTS = "weights/toy.params"
IMAGES, SCENES = "data/toy-200", "data/toy-large"  # of the generator, see Makefile
POINTS_IMAGE = 0  # an object across others
NUM_POINTS = 6  # in one object: with the image and the point between, two full rows
SQUARE = np.ones((3, 3), np.uint8)
PICTURES = {"results": "toy_results", "proposals": "toy_proposals", "iterations": "toy_iterations"}
OF_LONGER_RUNS = {  # of the commands of docs/results.md and docs/speed.md
    "street_results": "outputs/synthetic-cityscapes/pictures/results.png",
    "coco_results": "outputs/coco-two/pictures/results.png",
    "nuclei_results": "outputs/nuclei/pictures/results.png",
    "nuclei_worst": "outputs/nuclei/pictures/worst.png",
    "growth": "outputs/benchmarks/growth.png",
    "memory": "outputs/benchmarks/memory.png",
}


def copy_of_longer_runs() -> None:
    """Figures that take hours to make; where a run isn't there, its figure stays as it is."""
    for figure, source in OF_LONGER_RUNS.items():
        if Path(source).exists():
            shutil.copy(source, HERE / f"{figure}.png")
        else:
            print(f"docs/{figure}.png stays: no {source}, which commands of docs/ make")


def draw_evaluation() -> None:
    """Figures 3, 9 and 5: what test_panoptic.py draws."""
    with tempfile.TemporaryDirectory() as output:
        where = ("--data-root", IMAGES, "--weights", WEIGHTS, "--output", output)
        args = parse_arguments("", ["toy", *where, "--limit", "4"])
        evaluate(args, ToyDataset(IMAGES, "test"), load_predictor(args))
        for name, figure in PICTURES.items():
            shutil.copy(Path(output) / "pictures" / f"{name}.png", HERE / f"{figure}.png")


def border_yx(instance_map: np.ndarray, number: int) -> np.ndarray:
    """The pixels (row, col) of an object that touch another object."""
    others = ((instance_map > 0) & (instance_map != number)).astype(np.uint8)
    return np.argwhere((cv2.dilate(others, SQUARE) > 0) & (instance_map == number))


def draw_points(predictor: AdaptISPredictor) -> None:
    """Figure 2: masks of several points of one object, and of a point between two."""
    sample = ToyDataset(IMAGES, "test")[POINTS_IMAGE]
    borders = {number: border_yx(sample.instance_map, number) for number in sample.instances}
    chosen = max(borders, key=lambda number: len(borders[number]))
    inside = np.argwhere(cv2.erode((sample.instance_map == chosen).astype(np.uint8), SQUARE) > 0)
    spread = inside[np.linspace(0, len(inside) - 1, NUM_POINTS).astype(int)]
    between = borders[chosen][len(borders[chosen]) // 2]
    points_xy = np.stack([*spread, between])[:, ::-1]
    predictor.set_image(sample.image)
    masks = predictor.predict(points_xy).masks
    save_points(HERE / "toy_points.png", sample.image, points_xy, masks)


def draw_large_scene(predictor: AdaptISPredictor) -> None:
    """Figure 3(d)."""
    sample = ToyDataset(SCENES, "test")[0]
    greedy = replace(predictor.settings.greedy, **DENSE_SCENES)
    predictor.settings = replace(predictor.settings, points="proposals", greedy=greedy)
    predictor.set_image(sample.image)
    found = match_ids(predictor.aggregate().instance_map, sample.instance_map)
    image = enlarge(sample.image)
    drawn = [draw_instances(image, enlarge(ids)) for ids in (sample.instance_map, found)]
    save_grid(HERE / "toy_large.png", ["Image", "Ground truth", "AdaptIS"], [[image, *drawn]])


def main() -> None:
    draw_evaluation()
    predictor = AdaptISPredictor.load(WEIGHTS)
    draw_points(predictor)
    draw_large_scene(predictor)
    copy_of_longer_runs()


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
