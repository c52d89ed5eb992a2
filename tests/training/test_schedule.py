from __future__ import annotations

import argparse

import pytest
from easydict import EasyDict

from adaptis.training.options import missed_drops, stage_options
from adaptis.training.schedule import learning_rate_factor


def factor(schedule, epoch, epochs=100, drops=(75, 95), warmup=0.0):
    return learning_rate_factor(schedule, epoch, epochs, drops, warmup)


@pytest.mark.parametrize("epoch", [0, 50, 99.9])
def test_constant(epoch):
    assert factor("constant", epoch) == 1


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 1), (74.9, 1), (75, 0.1), (94.9, 0.1), (95, 0.01), (99.9, 0.01)],
)
def test_step_divides_by_ten_at_each_drop(epoch, expected):
    assert factor("step", epoch) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 1), (50, 0.5), (100 / 3, 0.75), (200 / 3, 0.25), (100, 0), (101, 0)],
)
def test_cosine(epoch, expected):
    """(1 + cos) / 2 at 0, 90, 60 and 120 degrees."""
    assert factor("cosine", epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0), (1, 0.25), (4, 1), (5, 1)])
def test_warmup_grows_linearly(epoch, expected):
    assert factor("constant", epoch, warmup=4) == expected


def test_warmup_multiplies_the_schedule():
    assert factor("cosine", 50, warmup=100) == pytest.approx(0.5 * 0.5)
    assert factor("step", 80, warmup=160) == pytest.approx(0.5 * 0.1)


class TestDefaultsOfTheStages:
    config = EasyDict(
        epochs=260,
        learning_rate=1e-4,
        schedule="step",
        drops=(240, 255),
        proposal_epochs=10,
        proposal_learning_rate=5e-4,
        proposal_schedule="cosine",
    )

    def options(self, stage="instances", **given):
        none = {"epochs": None, "learning_rate": None, "schedule": None, "drops": None}
        args = argparse.Namespace(**{**none, "stage": stage, "points": 6, **given})
        chosen = vars(stage_options(args, self.config))
        assert (chosen.pop("stage"), chosen.pop("points")) == (stage, 6)
        return tuple(chosen[name] for name in none)

    def test_each_stage_has_its_own(self):
        assert self.options() == (260, 1e-4, "step", [240, 255])
        assert self.options("proposals") == (10, 5e-4, "cosine", [])

    def test_what_is_given_counts(self):
        given = {"epochs": 7, "learning_rate": 1e-3, "schedule": "step", "drops": [3]}
        for stage in ("instances", "proposals"):
            assert self.options(stage, **given) == (7, 1e-3, "step", [3])

    @pytest.mark.parametrize(
        ("epochs", "drops"), [(130, [120, 127.5]), (520, [480, 510]), (26, [24, 25.5])]
    )
    def test_drops_move_with_the_epochs(self, epochs, drops):
        """So that a short run has them too."""
        assert self.options(epochs=epochs)[3] == drops

    def test_drops_of_a_proposal_stage(self):
        assert self.options("proposals", schedule="step", epochs=26)[3] == [24, 25.5]

    def test_no_drops(self):
        assert self.options(drops=[])[3] == []
        assert self.options(schedule="constant", drops=[3])[3] == []


@pytest.mark.parametrize(
    ("schedule", "given", "told"),
    [
        ("step", [], None),
        ("step", [1, 1.9], None),
        ("step", [5, 7], "--drops 5 7: never, as the training ends after 2 epochs"),
        ("step", [1, 2], "--drops 2: never, as the training ends after 2 epochs"),
        ("constant", None, None),
        ("cosine", [1.5], "--drops 1.5: never, as --schedule cosine has none"),
    ],
)
def test_drops_that_never_come_are_told(schedule, given, told):
    drops = given if schedule == "step" else []
    args = argparse.Namespace(schedule=schedule, drops=drops, epochs=2)
    assert missed_drops(args, given) == told
