"""Weights and checkpoints: one file that knows what it is, written atomically, verified on load.

A file is MXNet's own parameter format followed by a trailer: a JSON description, its length, the
sha256 of all that precedes, and a mark. MXNet's readers ignore the trailer, so ``mx.nd.load`` and
``load_parameters`` read our files; we read theirs, which have no description. Nothing is unpickled.
Importing this needs no MXNet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adaptis.description import check_description
from adaptis.disk import check_regular, sync_folder, temporary_for
from adaptis.errors import AdaptISError, last_line
from adaptis.json_types import FormatError, parse_json
from adaptis.parameter_format import check_format

if TYPE_CHECKING:
    import mxnet as mx

PARAMETER = "parameter"  # the group of the network's parameters in a training's checkpoint
AVERAGE = "average"  # that of their moving averages, where there are any
_MARK = b"AdaptIS\x01"
ADAMS_MOMENTS = ("mean", "variance")
_TAIL = struct.Struct("<Q32s8s")  # length of the description, sha256, mark
OTHER_ENDINGS = (".onnx", ".json")  # of files that lie beside weights
ANOTHER_COPY = "use another copy"
NO_CHECKSUM = (
    "is a plain MXNet file, without this project's description and checksum: damage to its numbers "
    "can't be noticed"
)


class CheckpointError(AdaptISError):
    """A file can't be written, is damaged, or belongs to another network; says which and why."""


def save_arrays(path: Path | str, arrays: dict[str, mx.nd.NDArray], description: dict) -> None:
    """Write arrays and a JSON-able description to ``path``; the old file stays until the new one
    is on the disk and has been read back.

    Raises CheckpointError when the disk is full or the file can't be written.
    """
    import mxnet as mx

    path = Path(path)
    temporary = temporary_for(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mx.nd.save(str(temporary), arrays)
        payload = temporary.read_bytes()
        text = json.dumps(description, sort_keys=True).encode()
        digest = hashlib.sha256(payload + text).digest()
        with open(temporary, "ab") as file:
            file.write(text + _TAIL.pack(len(text), digest, _MARK))
            file.flush()
            os.fsync(file.fileno())
        written, _ = load_arrays(temporary)  # mx.nd.save doesn't notice a full disk
        if set(written) != set(arrays) or any(
            written[k].shape != v.shape for k, v in arrays.items()
        ):
            raise CheckpointError("what was read back differs from what was written")
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, mx.MXNetError, CheckpointError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise CheckpointError(
            f"{path}: could not be saved: {error} (disk full? the previous file is untouched)"
        ) from error


class Weights(NamedTuple):
    """What a file holds."""

    arrays: dict[str, mx.nd.NDArray]
    description: dict  # {} of a plain MXNet file
    sha256: str  # of the whole file, hexadecimal


def load_arrays(path: Path | str) -> tuple[dict[str, mx.nd.NDArray], dict]:
    """The arrays and the description of a file, see :func:`read_weights`."""
    return read_weights(path)[:2]


def read_weights(path: Path | str) -> Weights:
    """Read a file, once: what is returned belongs together even if it is replaced meanwhile.

    Raises CheckpointError when the file is missing, truncated, or its sha256 differs.
    """
    import mxnet as mx

    try:
        check_regular(Path(path))
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror or error}") from error
    description: dict = {}
    file_sha256 = hashlib.sha256(content).hexdigest()
    is_ours = content.endswith(_MARK) and len(content) > _TAIL.size
    try:
        if is_ours:
            content, description = _without_trailer(content)
        check_format(content)
        arrays = mx.nd.load_frombuffer(content)
    except FormatError as error:
        raise CheckpointError(f"{path}: its description can't be used: {error}") from error
    except (ValueError, mx.MXNetError) as error:
        reason = last_line(error)
        if not is_ours and Path(path).suffix.lower() in OTHER_ENDINGS:
            problem = f"is no file of MXNet's parameters ({reason}); a .params file is wanted"
        else:
            problem = f"is damaged ({reason}); {ANOTHER_COPY}"
        raise CheckpointError(f"{path}: {problem}") from error
    if not is_ours:
        print(f"{path}: {NO_CHECKSUM}", file=sys.stderr)
    return Weights(arrays, description, file_sha256)


def load_weights(path: Path | str) -> Weights:
    """As :func:`read_weights`, of a weights file or of a training's checkpoint, whose parameters
    alone are returned, by their own names; averages in place of those that have one."""
    arrays, description, file_sha256 = read_weights(path)
    groups = split_groups(arrays)
    if PARAMETER in groups:
        arrays = {**groups[PARAMETER], **groups.get(AVERAGE, {})}
    return Weights(arrays, description, file_sha256)


def join_groups(groups: dict[str, dict]) -> dict[str, mx.nd.NDArray]:
    """The arrays of a checkpoint, as "<group>:<name>", from those of each group by name."""
    return {f"{group}:{name}": a for group, arrays in groups.items() for name, a in arrays.items()}


def split_groups(arrays: dict[str, mx.nd.NDArray]) -> dict[str, dict]:
    """What :func:`join_groups` was given, without empty groups and arrays of no group."""
    groups: dict[str, dict] = {}
    for full_name, array in arrays.items():
        group, colon, name = full_name.partition(":")
        if colon:
            groups.setdefault(group, {})[name] = array
    return groups


def has_description(path: Path | str) -> bool:
    """Whether a file is one of this project's, by its last bytes; False where it can't be read."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_MARK), os.SEEK_END)
            return file.read() == _MARK
    except OSError:
        return False


def _without_trailer(content: bytes) -> tuple[bytes, dict]:
    """A file's arrays and its description."""
    length, digest, _ = _TAIL.unpack(content[-_TAIL.size :])
    content = content[: -_TAIL.size]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its sha256 differs")
    if length > len(content):  # the length itself, which the sha256 doesn't cover
        raise ValueError("its description is longer than the file")
    content, text = content[: len(content) - length], content[len(content) - length :]
    description = parse_json(text)
    check_description(description)
    return content, description


def parameters_of(network) -> dict[str, mx.nd.NDArray]:
    """The network's parameters on the CPU, by structural name."""
    import mxnet as mx

    return {
        name: parameter.data(parameter.list_ctx()[0]).as_in_context(mx.cpu())
        for name, parameter in network._collect_params_with_prefix().items()
    }


def set_parameters(network, arrays: dict[str, mx.nd.NDArray], source: Path | str) -> None:
    """Put arrays into an initialised network, by name.

    Raises CheckpointError naming the parameters that are missing, unknown, or of another shape;
    the network is then unchanged.
    """
    parameters = network._collect_params_with_prefix()
    problems = [f"{name} is missing" for name in parameters if name not in arrays]
    problems += [f"{name} is unknown" for name in arrays if name not in parameters]
    for name in set(parameters) & set(arrays):
        ours, theirs = parameters[name].shape, arrays[name].shape
        if not same_shape(ours, theirs):
            problems.append(f"{name} has shape {theirs}, the network wants {ours}")
    if problems:
        listed = "; ".join(sorted(problems)[:5])
        raise CheckpointError(
            f"{source}: holds another network's parameters ({len(problems)} differ: {listed}); "
            "build the network with the options these were trained with"
        )
    for name, parameter in parameters.items():
        parameter.set_data(arrays[name].reshape(parameter.shape))


def same_shape(ours: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Whether an array fits a parameter: a dense layer's weight fits the 1x1 convolution it is."""
    return [n for n in ours if n > 1] == [n for n in theirs if n > 1]


def optimizer_arrays(trainer: mx.gluon.Trainer, network) -> dict[str, mx.nd.NDArray]:
    """Adam's moments on the CPU, as ``<parameter>/mean`` and ``<parameter>/variance``."""
    import mxnet as mx

    names = structural_names(network)
    return {
        f"{names[trainer._params[index].name]}/{moment}": array.as_in_context(mx.cpu())
        for index, state in trainer._updaters[0].states.items()
        for moment, array in zip(ADAMS_MOMENTS, state)
    }


def set_optimizer(trainer: mx.gluon.Trainer, network, arrays: dict, updates: int) -> None:
    """Restore what :func:`optimizer_arrays` gave after ``updates`` steps."""
    if not updates:
        return
    names = structural_names(network)
    trainer._optimizer.begin_num_update = trainer._optimizer.num_update = updates
    for device, updater in enumerate(trainer._updaters):
        for index, parameter in enumerate(trainer._params):
            if parameter.grad_req == "null":
                continue  # running statistics and fixed weights, which Adam never sees
            context = parameter.list_ctx()[device]
            updater.states[index] = tuple(
                arrays[f"{names[parameter.name]}/{moment}"].copyto(context)
                for moment in ADAMS_MOMENTS
            )
            updater.states_synced[index] = True


def structural_names(network) -> dict[str, str]:
    """Gluon's global parameter names, which depend on what was built before, to structural ones."""
    return {p.name: name for name, p in network._collect_params_with_prefix().items()}
