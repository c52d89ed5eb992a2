"""Weights files from elsewhere: whatever a description or a header says, the file is named, in the
time and memory that reading takes."""

from __future__ import annotations

import copy
import hashlib
import json
import struct

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.settings import InferenceSettings
from adaptis.parameter_format import ParameterFormatError, check_format
from adaptis.weights import CheckpointError, load_arrays, parameters_of, read_weights, save_arrays

DESCRIPTION = {
    "network": {"architecture": "toy", "width": 4, "coord_conv": True, "distance_map": False},
    "dataset": "toy",
    "classes": [
        {"name": "background", "category_id": 1, "isthing": False, "color": [255, 255, 255]},
        {"name": "object", "category_id": 2, "isthing": True, "color": [250, 2, 4]},
    ],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "inference": {"points": "random", "flip": False, "greedy": {"mask_threshold": 0.4}},
    "state": {"iteration": 3, "updates": 3, "best": 0.5},
}
PANOPTIC = {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 2, "channels": 16}
NAN, DEEP = float("nan"), "[" * 100_000

WRONG = [  # place, value, and what the message says of it
    *((("network",), value, "network is") for value in ("toy", [], 3, None)),
    (("network", "architecture"), "unet", '"toy", "panoptic"'),
    (("network", "architecture"), ["toy"], "architecture is a list"),
    *((("network", "width"), value, "width is") for value in (0, -4, 10**8, 4.0, "4", NAN, True)),
    (("network", "coord_conv"), "false", "coord_conv is"),
    (("network", "depth"), 5, "depth is unknown"),
    (("network", "proposal_branch"), "wide", '"wide", one of "paper", "authors" was expected'),
    *((("network",), {**PANOPTIC, "backbone": value}, "backbone is") for value in ("vgg16", 3)),
    *(
        (("network",), {**PANOPTIC, "num_adain": value}, "num_adain is")
        for value in (10**8, 0, "1")
    ),
    *((("network",), {**PANOPTIC, "classes": value}, "classes") for value in (0, 10**9, [2])),
    *(
        (("network",), {**PANOPTIC, "relative_radius": value}, "radius is")
        for value in (0, -5, NAN)
    ),
    (("network",), {**PANOPTIC, "channels": 10**6}, "channels is"),
    (("network",), {**PANOPTIC, "channels": 4}, "channels is"),
    *((("mean",), value, "mean is") for value in ([NAN, 0, 0], [0.5], "abc", None, [1, 2, "3"])),
    *((("std",), value, "std is") for value in ([0, 1, 1], [-1, 1, 1], [float("inf"), 1, 1], 0.5)),
    *((("classes",), value, "classes") for value in ([], {}, "ab", [3], [{}], 7)),
    (("network", "classes"), 3, "for 3 classes, 2 are named"),
    (("classes", 0, "category_id"), 2, "share a category_id"),
    (("classes", 0, "category_id"), "1", "category_id is"),
    (("classes", 1, "isthing"), "true", "isthing is"),
    (("classes", 1, "color"), [300, 0, 0], "color is"),
    (("classes", 1, "name"), None, "name is"),
    *((("inference",), value, "inference is") for value in ([], "random", 3)),
    (("inference", "points"), 3, "points is 3"),
    (("inference", "flip"), "no", "flip is"),
    (("inference", "shortest_side"), "600", "shortest_side is"),
    (("inference", "shortest_side"), 600.5, "shortest_side is"),
    (("inference", "thing_threshold"), NAN, "thing_threshold is nan"),
    (("inference", "greedy"), [0.4], "no table of settings"),
    (("inference", "greedy", "mask_threshold"), "high", "mask_threshold is"),
    (("inference", "greedy", "candidates"), "many", "candidates is"),
    *((("state",), value, "state") for value in ([], {}, {"iteration": "3", "best": 1})),
    (("dataset",), 3, "dataset is"),
]


def changed(place, value):
    description = copy.deepcopy(DESCRIPTION)
    inner = description
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return description


@pytest.fixture(scope="module")
def network(toy):
    return toy(4)


def write(path, arrays, text):
    """A file whose sha256 is right, with any text as its description."""
    mx.nd.save(str(path), arrays)
    content = path.read_bytes() + text.encode()
    digest = hashlib.sha256(content).digest()
    path.write_bytes(content + struct.pack("<Q32s8s", len(text.encode()), digest, b"AdaptIS\x01"))
    return path


def test_a_sound_one_loads(network, tmp_path):
    save_arrays(tmp_path / "w.params", parameters_of(network), DESCRIPTION)
    predictor = AdaptISPredictor.load(tmp_path / "w.params")
    assert predictor.classes[1]["name"] == "object"
    assert predictor.weights_sha256 == read_weights(tmp_path / "w.params").sha256


@pytest.mark.parametrize(("place", "value", "problem"), WRONG)
def test_wrong_entries_are_named(tmp_path, monkeypatch, place, value, problem):
    """Before anything is built or downloaded: there is no network to be had here."""
    monkeypatch.setattr("models.toy.toy_network", None)
    monkeypatch.setattr("models.panoptic.panoptic_network", None)
    path = write(tmp_path / "w.params", {"a": mx.nd.ones(2)}, json.dumps(changed(place, value)))
    if place[0] == "inference" and len(place) > 1:  # which come when the network is built
        with pytest.raises(ValueError, match=problem):
            InferenceSettings.from_description(changed(place, value)["inference"])
        return
    with pytest.raises(CheckpointError, match=rf"w\.params: its description can't be .*{problem}"):
        AdaptISPredictor.load(path)


def test_an_unknown_option_of_a_network(tmp_path):
    """Of a later version, perhaps."""
    text = json.dumps(changed(("network", "depth"), 5))
    path = write(tmp_path / "w.params", {"a": mx.nd.ones(2)}, text)
    with pytest.raises(CheckpointError, match=r"w\.params: its .*network\.depth is unknown"):
        AdaptISPredictor.load(path)


@pytest.mark.parametrize("key", ["network", "classes", "mean", "std"])
def test_what_is_missing_is_named(tmp_path, key):
    description = {k: v for k, v in DESCRIPTION.items() if k != key}
    path = write(tmp_path / "w.params", {"a": mx.nd.ones(2)}, json.dumps(description))
    with pytest.raises(CheckpointError, match=rf"w\.params: doesn't say .*\({key}\)"):
        AdaptISPredictor.load(path)


@pytest.mark.parametrize("text", [DEEP, "[]", "3", "{", '{"mean": 1, "mean": 2}', "", "\0"])
def test_no_object_at_all(tmp_path, text):
    path = write(tmp_path / "w.params", {"a": mx.nd.ones(2)}, text)
    with pytest.raises(CheckpointError, match=r"w\.params: its description can't be used"):
        load_arrays(path)


ARRAYS = {"first": mx.nd.ones((2, 3)), "second": mx.nd.array([1, 2], dtype="uint8")}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.params"
    mx.nd.save(str(path), ARRAYS)
    return path.read_bytes()


def test_plain_files_are_told_as_such(plain, tmp_path, capsys):
    (tmp_path / "plain.params").write_bytes(plain)
    arrays, description = load_arrays(tmp_path / "plain.params")
    assert (set(arrays), description) == (set(ARRAYS), {})
    assert "plain.params: is a plain MXNet file, without" in capsys.readouterr().err
    save_arrays(tmp_path / "ours.params", arrays, {})
    load_arrays(tmp_path / "ours.params")
    assert not capsys.readouterr().err


def test_any_byte_of_a_header(plain):
    """All but the values, the device and the letters of names are checked: sizes that ask for all
    memory never reach MXNet."""
    accepted = []
    for place in range(len(plain)):
        for value in {0, 1, 0x7F, 0xFF} - {plain[place]}:
            damaged = bytearray(plain)
            damaged[place] = value
            try:
                check_format(bytes(damaged))
            except ParameterFormatError:
                continue
            arrays = mx.nd.load_frombuffer(bytes(damaged))
            assert sum(a.size for a in arrays.values()) <= 64
            accepted.append(place)
    free = 24 + 2 + 2 * 8 + 8 + 11  # values, device ids and kinds, the reserved word, letters
    assert len(set(accepted)) <= free


@pytest.mark.parametrize("shape", [(2**62,), (2**31, 2**31), (-1,), (2**40,)])
def test_sizes_that_can_not_be(plain, tmp_path, shape):
    place = plain.index(struct.pack("<Iqq", 2, 2, 3))
    dimensions = struct.pack(f"<I{len(shape)}q", len(shape), *shape)
    (tmp_path / "w.params").write_bytes(plain[:place] + dimensions + plain[place + 20 :])
    with pytest.raises(CheckpointError, match=r"w\.params: is damaged \((an array|it is cut)"):
        load_arrays(tmp_path / "w.params")


def test_of_one_kind_only(tmp_path):
    """Sparse arrays, lists, and two of one name."""
    mx.nd.save(str(tmp_path / "w.params"), {"a": mx.nd.ones((2, 2)).tostype("row_sparse")})
    with pytest.raises(CheckpointError, match=r"w\.params: is damaged \(an array"):
        load_arrays(tmp_path / "w.params")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzz_the_format(plain, data):
    """Bytes cut out, put in and changed: accepted whole, or refused."""
    content = bytearray(plain)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 12)))
        content[start:stop] = data.draw(st.binary(max_size=12))
    try:
        check_format(bytes(content))
    except ParameterFormatError:
        return
    for array in mx.nd.load_frombuffer(bytes(content)).values():
        assert np.isfinite(array.size)
