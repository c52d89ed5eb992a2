"""Weights of other classes than the data set's are refused, with a remedy that is one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adaptis.evaluation.script import check_classes
from adaptis.weights import CheckpointError
from datasets.base import ClassInfo
from datasets.label_maps import AGNOSTIC_CLASSES

CELLS = (ClassInfo("background", 3, False, (0, 0, 0)), ClassInfo("cell", 1, True, (9, 9, 9)))


@pytest.mark.parametrize(
    ("trained", "present", "class_agnostic", "remedy"),
    [
        (AGNOSTIC_CLASSES, CELLS, False, "--class-agnostic takes all for one"),
        (CELLS, AGNOSTIC_CLASSES, True, "let both list the same categories"),
        (CELLS, CELLS[:1], False, "let both list the same categories"),
    ],
)
def test_the_remedy(trained, present, class_agnostic, remedy):
    predictor = SimpleNamespace(classes=[info._asdict() for info in trained])
    dataset = SimpleNamespace(name="instances", classes=present)
    args = SimpleNamespace(weights="w", data_root="d", class_agnostic=class_agnostic)
    with pytest.raises(CheckpointError, match=rf"^w: was trained on other .* than d .*{remedy}$"):
        check_classes(predictor, dataset, args)


def test_the_same_are_taken():
    predictor = SimpleNamespace(classes=[info._asdict() for info in CELLS])
    args = SimpleNamespace(weights="w", data_root="d", class_agnostic=False)
    check_classes(predictor, SimpleNamespace(name="instances", classes=CELLS), args)
