"""Weights that a training starts with: of the same network, of other classes, of other branches."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from adaptis.training.checkpoints import TrainingError
from adaptis.training.initial_weights import set_initial_parameters
from adaptis.weights import CheckpointError, parameters_of

CLASSIFIER = "semantic_head.6."
NETWORK = {"architecture": "toy", "width": 4, "relative_radius": 42}
ROAD, SKY, CAR = (
    {"name": "road", "isthing": False, "category_id": 7},
    {"name": "sky", "isthing": False, "category_id": 23},
    {"name": "car", "isthing": True, "category_id": 26},
)


def describe(*classes, **network):
    return {"network": {**NETWORK, "classes": len(classes), **network}, "classes": list(classes)}


def numpy_of(network):
    return {name: array.asnumpy() for name, array in parameters_of(network).items()}


@pytest.fixture
def load(toy):
    """A function: descriptions of weights and of the network, arrays changed, stage -> values of
    the weights, of the network before and after."""

    def load(theirs, ours, change=lambda arrays: arrays, stage="instances"):
        trained = toy(seed=1, classes=len(theirs["classes"]))
        network = toy(seed=2, classes=len(ours["classes"]))
        before, arrays = numpy_of(network), parameters_of(trained)
        set_initial_parameters(network, change(arrays), "some.params", theirs, ours, stage)
        return numpy_of(trained), before, numpy_of(network)

    return load


def assert_same(ours, theirs, leave_out=()):
    for name in theirs:
        if not name.startswith(leave_out or "no such name"):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("stage", ["instances", "proposals"])
def test_the_same_classes(load, capsys, stage):
    same = describe(ROAD, SKY, CAR)
    trained, _, after = load(same, same, stage=stage)
    assert_same(after, trained)
    assert capsys.readouterr().err == ""


def test_new_classes_begin_anew_and_known_ones_move_to_their_place(load, capsys):
    """Of road, car the network for sky, road, car keeps rows 0 and 1, as its rows 1 and 2."""
    trained, before, after = load(describe(ROAD, CAR), describe(SKY, ROAD, CAR))
    assert_same(after, trained, leave_out=CLASSIFIER)
    for part in ("weight", "bias"):
        rows, known = after[CLASSIFIER + part], trained[CLASSIFIER + part]
        np.testing.assert_array_equal(rows[1:], known)
        np.testing.assert_array_equal(rows[0], before[CLASSIFIER + part][0])
    message = "some.params: what fits is loaded; 1 of 3 classes (sky) begin anew\n"
    assert capsys.readouterr().err == message


def test_as_many_others(load, capsys):
    """A thing called road is no stuff called so."""
    trained, before, after = load(describe(ROAD, CAR), describe(SKY, {**ROAD, "isthing": True}))
    assert_same(after, trained, leave_out=CLASSIFIER)
    assert_same(after, {k: v for k, v in before.items() if k.startswith(CLASSIFIER)})
    assert "2 of 2 classes (sky, road)" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["instances", "proposals"])
def test_the_same_classes_in_another_order(load, capsys, stage):
    trained, _, after = load(describe(ROAD, SKY, CAR), describe(SKY, ROAD, CAR), stage=stage)
    np.testing.assert_array_equal(
        after[CLASSIFIER + "weight"], trained[CLASSIFIER + "weight"][[1, 0, 2]]
    )
    assert_same(after, trained, leave_out=CLASSIFIER)
    assert capsys.readouterr().err == ""


def test_the_proposal_stage_needs_the_classes(load):
    message = r"some\.params: was trained without 1 of 2 classes \(car\), .*first stage"
    with pytest.raises(TrainingError, match=message):
        load(describe(ROAD), describe(ROAD, CAR), stage="proposals")


@pytest.mark.parametrize("stage", ["instances", "proposals"])
@pytest.mark.parametrize("change", ["longer", "shorter", "wider"])
def test_another_proposal_branch_begins_anew(load, capsys, stage, change):
    classes, last = describe(ROAD, CAR), "proposal_head.4.weight"

    def other(arrays):
        if change == "longer":
            return {**arrays, "proposal_head.5.weight": arrays[last]}
        if change == "shorter":
            return {name: array for name, array in arrays.items() if name != last}
        return {**arrays, last: mx.nd.zeros((1, 64, 1, 1))}

    trained, before, after = load(classes, classes, other, stage)
    assert_same(after, trained, leave_out="proposal_head.")
    assert_same(after, {k: v for k, v in before.items() if k.startswith("proposal_head.")})
    assert "the proposal branch, which is built otherwise" in capsys.readouterr().err


def test_what_no_shape_shows_is_compared(load):
    message = r"another network: relative_radius: 42, now 20; give the same options"
    with pytest.raises(TrainingError, match=message):
        load(describe(CAR), describe(CAR, relative_radius=20))


def test_weights_that_do_not_say_what_they_are(load):
    """The authors': taken for what the network is."""
    ours = describe(ROAD, CAR)
    trained, _, after = load({**ours, "network": {}}, ours)
    assert_same(after, trained)


def test_other_parameters_are_refused(load):
    def without(arrays):
        return {k: v for k, v in arrays.items() if k != "backbone.fe.0.bias"}

    with pytest.raises(CheckpointError, match=r"backbone\.fe\.0\.bias is missing"):
        load(describe(ROAD, CAR), describe(CAR), without)
