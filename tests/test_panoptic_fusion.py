"""Section 5's fusion and the folder of results, on hand-drawn maps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from adaptis.evaluation.results import PredictionFolder, ResultsError, score_predictions
from adaptis.panoptic import fuse_panoptic

CLASSES = [
    {"name": "sky", "category_id": 10, "isthing": False},
    {"name": "road", "category_id": 11, "isthing": False},
    {"name": "car", "category_id": 20, "isthing": True},
]
CATEGORIES = [
    {"id": c["category_id"], "name": c["name"], "isthing": int(c["isthing"]), "color": [0, 0, 0]}
    for c in CLASSES
]
TRUTH = np.array([[1, 1, 1, 1], [3, 3, 2, 2]])
CLASS_MAP = np.array([[0, 0, 0, 0], [2, 2, 1, 1]], np.uint8)
TRUTH_CATEGORIES = {1: 10, 2: 11, 3: 20}


def test_instances_lie_on_stuff_and_things_without_instance_are_void():
    probabilities = np.zeros((3, 2, 4), np.float32)
    probabilities[0, 0] = 0.8  # sky
    probabilities[1, 1, :2] = 0.6  # road
    probabilities[2, 1, 2:] = 0.9  # car
    mask = np.zeros((2, 4), bool)
    mask[:, 2] = True
    records = [{"segmentation": mask, "category_id": 20, "score": 0.7}]
    panoptic_seg, segments = fuse_panoptic(records, probabilities, CLASSES)
    assert panoptic_seg.tolist() == [[2, 2, 1, 2], [3, 3, 1, 0]]
    assert [(s["id"], s["category_id"]) for s in segments] == [(1, 20), (2, 10), (3, 11)]
    assert [s["score"] for s in segments] == pytest.approx([0.7, 0.8, 0.6])


def segments(scores=(0.9, 0.8, 0.7)):
    return [
        {"id": i, "category_id": TRUTH_CATEGORIES[i], "score": s} for i, s in zip((1, 2, 3), scores)
    ]


def scored(folder, tmp_path, names=("a",)):
    samples = [(name, TRUTH, TRUTH_CATEGORIES, set(), CLASS_MAP) for name in names]
    return score_predictions(folder, samples, CATEGORIES, tmp_path / "out", (0.5, 0.9))


def test_perfect_predictions_score_one(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    metrics = scored(folder, tmp_path)
    assert metrics["pq"]["all"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 3}
    assert metrics["ap"] == {"0.5": pytest.approx(1), "0.9": pytest.approx(1)}
    assert metrics["miou"] == 1
    assert metrics["counts"] == {"found": 1, "missed": 0, "false_positives": 0}


def test_a_known_error_scores_by_hand(tmp_path):
    """Half of the road is called car: sky 1; road IoU 1/2 is no match; car IoU 2/3."""
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", np.array([[1, 1, 1, 1], [3, 3, 3, 2]]), segments(), CLASS_MAP % 2)
    metrics = scored(folder, tmp_path)
    assert metrics["pq"]["things"]["pq"] == pytest.approx(2 / 3)
    assert metrics["pq"]["stuff"]["pq"] == pytest.approx(1 / 2)
    assert metrics["ap"] == {"0.5": pytest.approx(1), "0.9": 0}
    assert metrics["miou"] == pytest.approx((4 / 6 + 1 + 0) / 3)  # car taken for sky everywhere


def test_a_folder_goes_on_where_it_stopped_and_redoes_what_is_damaged(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    again = PredictionFolder(tmp_path / "p", {"weights": "w"})
    assert again.has("a")
    assert not again.has("b")
    png = tmp_path / "p" / "a.png"
    png.write_bytes(png.read_bytes()[:-20])
    assert not again.has("a")
    with pytest.raises(ResultsError, match=r"a\.png"):
        scored(again, tmp_path)


def test_a_json_that_contradicts_its_png_is_damaged(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    path = tmp_path / "p" / "a.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
    assert not folder.has("a")


def test_results_of_another_run_are_refused(tmp_path):
    PredictionFolder(tmp_path / "p", {"weights": "w", "flip": False})
    with pytest.raises(ResultsError, match="flip: False, now True"):
        PredictionFolder(tmp_path / "p", {"weights": "w", "flip": True})
    with pytest.raises(ResultsError, match="no such folder"):
        PredictionFolder(tmp_path / "missing")
