from __future__ import annotations

import pytest

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
