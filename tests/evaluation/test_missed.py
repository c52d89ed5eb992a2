"""What an evaluation missed, against answers known by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from adaptis.errors import ResultsError
from adaptis.evaluation import missed
from adaptis.evaluation.missed import MissedObject, missed_objects
from adaptis.evaluation.panoptic_quality import write_panoptic_png


def strips(*lengths_and_ids):
    """A map of one row: so many pixels of an id, one after the other."""
    return np.concatenate([np.full(length, id_) for length, id_ in lengths_and_ids])[None]


@pytest.mark.parametrize(
    ("truth", "result", "expected"),
    [
        # two objects of 10 px under one segment: IoU .5 with each
        (strips((10, 1), (10, 2)), strips((20, 7)), [("merged", 10), ("merged", 10)]),
        # 12 of 20 pixels are the object's, the others nobody's
        (strips((12, 1), (8, 0)), strips((20, 7)), [("spilled", 12)]),
        # the first has less than half of its neighbour too, which has a segment of its own
        (strips((10, 1), (12, 2)), strips((15, 7), (7, 8)), [("spilled", 10), ("in part", 12)]),
        (strips((20, 3)), strips((9, 7), (11, 0)), [("in part", 20)]),
        (strips((20, 3)), strips((2, 7), (18, 0)), [("in part", 20)]),
        (strips((20, 3)), strips((1, 7), (19, 0)), [("not seen", 20)]),
        (strips((20, 3)), strips((20, 0)), [("not seen", 20)]),
        (strips((20, 3)), strips((20, 5)), []),
        (strips((20, 0)), strips((20, 5)), []),
        (strips((10, 3), (10, 0)), strips((7, 5), (13, 0)), []),  # IoU .7
    ],
)
def test_kinds(truth, result, expected):
    found = missed_objects(truth, result, 0.7)
    assert found == [MissedObject(*one) for one in expected]


def test_an_evaluations_folder(tmp_path, capsys):
    """Two images; stuff and crowds are no objects."""
    categories = [{"id": 1, "isthing": 0}, {"id": 2, "isthing": 1}]
    records = [{"id": 4, "category_id": 1}, {"id": 5, "category_id": 2}]
    crowd = {"id": 6, "category_id": 2, "iscrowd": 1}
    maps = {
        "ground_truth": (strips((8, 4), (8, 5)), strips((8, 6), (8, 5))),
        "predictions": (strips((8, 4), (8, 5)), strips((16, 4))),
    }
    for name, of_images in maps.items():
        (tmp_path / name).mkdir()
        annotations = []
        for image_id, ids in enumerate(of_images):
            file_name = f"{image_id}.png"
            write_panoptic_png(tmp_path / name / file_name, ids)
            of_image = [r for r in (*records, crowd) if r["id"] in ids]
            annotations.append(
                {"image_id": image_id, "file_name": file_name, "segments_info": of_image}
            )
        content = {"annotations": annotations, "categories": categories}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    missed.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 of 2 objects are missed at IoU 0.5:"
    row = next(line for line in lines if line.startswith("| not seen"))
    assert row.startswith("| not seen | 1 | 50.0 | 8 (8 to 8) |")


def test_no_evaluation(tmp_path):
    with pytest.raises(ResultsError, match=r"nowhere: is no scored evaluation.*test_panoptic.py"):
        missed.main([str(tmp_path / "nowhere")])
