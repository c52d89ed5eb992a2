"""What a training starts with: weights of the same network, or what fits of a similar one."""

from __future__ import annotations

import sys

import mxnet as mx

from adaptis.differences import differences
from adaptis.training.checkpoints import TrainingError
from adaptis.weights import parameters_of, same_shape, set_parameters

MAY_BEGIN_ANEW = ("classes", "proposal_branch")  # of a network's description
SHOWN = 8  # classes that a message names


def set_initial_parameters(
    network, arrays: dict[str, mx.nd.NDArray], path: str, theirs: dict, ours: dict, stage: str
) -> None:
    """Put weights into an initialised network. Of other classes all that fits is taken, of the
    classifier the rows of the classes that both have by name; the rest begins anew, and is named
    on stderr.

    Parameters:
        arrays: parameters by our names.
        path: of their file.
        theirs, ours: descriptions with the network and its classes; theirs is {} for the authors'
            files.
        stage: "instances", or "proposals", which trains the proposal branch alone.

    Raises TrainingError where the networks differ otherwise, in what no shape shows, such as R, or
    where the stage doesn't train what would begin anew; CheckpointError for other parameters.
    """
    known = {**ours["network"], **theirs.get("network", {})}  # without what only we know
    if differing := differences(ours["network"], known, leave_out=MAY_BEGIN_ANEW):
        raise TrainingError(f"{path}: is of another network: {differing}; give the same options")
    initial, anew = parameters_of(network), []
    before, classes = (
        [(c["name"], c["isthing"]) for c in description.get("classes", ours["classes"])]
        for description in (theirs, ours)
    )
    if before != classes:
        arrays = {**arrays, **_rows_by_class(network, arrays, initial, before, classes)}
        if new := [name for name, isthing in classes if (name, isthing) not in before]:
            named = ", ".join(new[:SHOWN]) + (", ..." if len(new) > SHOWN else "")
            anew.append(f"{len(new)} of {len(classes)} classes ({named})")
    if anew and stage == "proposals":
        raise TrainingError(
            f"{path}: was trained without {anew[0]}, and --stage proposals trains its branch "
            "alone: give weights of a first stage with these classes"
        )
    branch, their_branch = (
        {name: array for name, array in of.items() if name.startswith("proposal_head.")}
        for of in (initial, arrays)
    )
    if set(branch) != set(their_branch) or not all(
        same_shape(array.shape, their_branch[name].shape) for name, array in branch.items()
    ):
        arrays = {**{k: v for k, v in arrays.items() if k not in their_branch}, **branch}
        anew.append("the proposal branch, which is built otherwise")
    set_parameters(network, arrays, path)
    if anew:
        print(f"{path}: what fits is loaded; {' and '.join(anew)} begin anew", file=sys.stderr)


def _rows_by_class(network, arrays, initial, before: list, classes: list) -> dict:
    """The classifier's arrays with the rows of the classes that the weights know, the others as
    initialised; {} where the arrays aren't the classifier's, which ``set_parameters`` tells.

    Parameters:
        before, classes: (name, isthing) of the weights' classes and of ours, in order.
    """
    last = f"semantic_head.{len(network.semantic_head) - 1}."
    rows = {}
    for name in (last + "weight", last + "bias"):
        expected = (len(before), *initial[name].shape[1:])
        if name not in arrays or arrays[name].shape != expected:
            return {}
        trained, row = arrays[name].asnumpy(), initial[name].asnumpy()
        for index, known in enumerate(classes):
            if known in before:
                row[index] = trained[before.index(known)]
        rows[name] = mx.nd.array(row)
    return rows
