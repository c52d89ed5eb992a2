"""The moving average of weights: by hand, and in a training that is stopped and resumed."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from adaptis.training.averaging import MovingAverage
from adaptis.training.checkpoints import TrainingError
from adaptis.weights import load_arrays, load_weights
from tests.training_runs import assert_same_end, final_state, stop_at, train


@pytest.fixture
def parameter():
    parameter = mx.gluon.Parameter("weight", shape=(2,))
    parameter.initialize(mx.init.Zero())
    return parameter


def value(average):
    return average.arrays["w"].asnumpy().tolist()


class TestByHand:
    def test_late_updates_count_by_the_decay(self, parameter):
        average = MovingAverage({"w": parameter}, decay=0.75)
        parameter.set_data(mx.nd.array([4, 8]))
        average.update(1000)
        assert value(average) == [1, 2]
        average.update(1001)
        assert value(average) == [1.75, 3.5]

    def test_early_ones_for_more(self, parameter):
        """After update 2 of 12 / 3 that are remembered: a weight of 3 / 12 for what was before."""
        average = MovingAverage({"w": parameter}, decay=0.999)
        parameter.set_data(mx.nd.array([4, 8]))
        average.update(2)
        assert value(average) == [3, 6]

    def test_in_use_and_back(self, parameter):
        average = MovingAverage({"w": parameter}, decay=0.75)
        own = np.array([0.1, 1 / 3], np.float32)
        parameter.set_data(mx.nd.array(own))
        average.update(1000)
        with average.in_use():
            np.testing.assert_allclose(parameter.data().asnumpy(), own / 4, rtol=1e-6)
        assert parameter.data().asnumpy().tobytes() == own.tobytes()

    def test_what_never_changes_stays_to_the_bit(self, parameter):
        parameter.set_data(mx.nd.array([0.1, 1 / 3]))
        average = MovingAverage({"w": parameter}, decay=0.9)
        for update in range(100):
            average.update(update)
        assert value(average) == parameter.data().asnumpy().tolist()

    def test_restored(self, parameter):
        first, second = (MovingAverage({"w": parameter}, decay=0.9) for _ in range(2))
        parameter.set_data(mx.nd.array([4, 8]))
        first.update(7)
        second.restore(first.arrays)
        parameter.set_data(mx.nd.array([5, 1]))
        for average in (first, second):
            average.update(8)
        assert value(first) == value(second)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("whole"), "--ema", 0.9)


def test_resume_is_exact(data, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(TrainingError, match="stopped"):
            train(data, tmp_path, "--ema", 0.9)
    run = train(data, tmp_path, "--ema", 0.9, "--resume")
    assert_same_end(run, whole)
    ours, theirs = (load_arrays(r / "last.params")[0] for r in (run, whole))
    for name, array in ours.items():
        np.testing.assert_array_equal(array.asnumpy(), theirs[name].asnumpy(), err_msg=name)


def test_training_itself_is_as_without(whole, uninterrupted):
    (arrays, _), (expected, _) = final_state(whole), final_state(uninterrupted())
    assert {n for n in arrays if not n.startswith("average:")} == set(expected)
    for name, array in expected.items():
        assert array.asnumpy().tobytes() == arrays[name].asnumpy().tobytes(), name


def test_the_averages_are_the_weights(whole):
    arrays, _ = final_state(whole)
    weights, _ = load_arrays(whole / "last.params")
    of_checkpoint = load_weights(whole / "checkpoint-0000008.params").arrays
    changed = 0
    for name, array in weights.items():
        own = arrays[f"parameter:{name}"].asnumpy()
        expected = arrays.get(f"average:{name}", arrays[f"parameter:{name}"]).asnumpy()
        np.testing.assert_array_equal(array.asnumpy(), expected, err_msg=name)
        np.testing.assert_array_equal(of_checkpoint[name].asnumpy(), expected, err_msg=name)
        changed += not np.array_equal(own, expected)
    assert changed > 50


def test_another_decay_is_named(data, whole):
    with pytest.raises(TrainingError, match=r"training\.ema: 0\.9, now None"):
        train(data, whole.parent, "--resume")
    with pytest.raises(SystemExit):
        train(data, whole.parent, "--resume", "--ema", 1)
