from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import time

import mxnet as mx
import numpy as np
import pytest

from adaptis.weights import (
    AVERAGE,
    PARAMETER,
    CheckpointError,
    join_groups,
    load_arrays,
    load_weights,
    parameters_of,
    save_arrays,
    set_parameters,
    split_groups,
)

ARRAYS = {
    "weight": mx.nd.array([[1.5, -2, 3], [4, 5, 6]]),
    "ids": mx.nd.array([1, 2, 255], dtype="uint8"),
}
DESCRIPTION = {"network": {"width": 4}, "mean": [0.5, 0.25, 1], "name": "Zürich"}
TAIL = 48  # bytes: length of the description, sha256, mark


@pytest.fixture
def saved(tmp_path):
    """A whole file, alone in its folder."""
    path = tmp_path / "run" / "some.params"
    save_arrays(path, ARRAYS, DESCRIPTION)
    return path


def assert_holds(path, arrays, description):
    found, found_description = load_arrays(path)
    assert found_description == description
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy())


def test_round_trip(saved):
    assert_holds(saved, ARRAYS, DESCRIPTION)
    assert os.listdir(saved.parent) == [saved.name]  # no temporary file


def test_replaces_a_file(saved):
    save_arrays(saved, {"other": mx.nd.zeros(2)}, {})
    assert_holds(saved, {"other": mx.nd.zeros(2)}, {})
    assert os.listdir(saved.parent) == [saved.name]


def test_mxnet_reads_ours(saved):
    arrays = mx.nd.load(str(saved))
    assert set(arrays) == set(ARRAYS)
    np.testing.assert_array_equal(arrays["weight"].asnumpy(), ARRAYS["weight"].asnumpy())


def test_load_parameters_reads_ours(toy, tmp_path):
    ours, theirs = toy(seed=1), toy(seed=2)
    save_arrays(tmp_path / "net.params", parameters_of(ours), DESCRIPTION)
    theirs.load_parameters(str(tmp_path / "net.params"))
    for name, array in parameters_of(ours).items():
        other = parameters_of(theirs)[name]
        np.testing.assert_array_equal(array.asnumpy(), other.asnumpy(), err_msg=name)


def test_we_read_mxnets(tmp_path):
    mx.nd.save(str(tmp_path / "plain.params"), ARRAYS)
    assert_holds(tmp_path / "plain.params", ARRAYS, {})


class TestGroups:
    def test_joined_and_split(self):
        groups = {PARAMETER: {"a:b": 1, "c": 2}, "momentum": {"c": 3}}
        joined = join_groups({**groups, AVERAGE: {}})
        assert joined == {"parameter:a:b": 1, "parameter:c": 2, "momentum:c": 3}
        assert split_groups({**joined, "of none": 4}) == groups

    def test_weights_are_averages_where_there_are_some_and_parameters(self, tmp_path):
        ones, twos = mx.nd.ones(1), 2 * mx.nd.ones(1)
        groups = {PARAMETER: {"a": ones, "b": ones}, AVERAGE: {"a": twos}, "momentum": {"b": twos}}
        save_arrays(tmp_path / "some.params", join_groups(groups), {})
        arrays = load_weights(tmp_path / "some.params").arrays
        assert {name: array.asscalar() for name, array in arrays.items()} == {"a": 2, "b": 1}


class TestDamage:
    @pytest.mark.parametrize("bit", [0x01, 0x40])
    def test_a_flipped_bit_in_any_byte(self, saved, bit):
        content = saved.read_bytes()
        assert len(content) < 1000
        for place in range(len(content)):
            damaged = bytearray(content)
            damaged[place] ^= bit
            saved.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"some\.params"):
                load_arrays(saved)

    def test_cut_anywhere(self, saved, tmp_path):
        """But not just behind the arrays: that is a plain MXNet file, without a description."""
        content = saved.read_bytes()
        mx.nd.save(str(tmp_path / "plain"), ARRAYS)
        plain = len((tmp_path / "plain").read_bytes())
        assert plain < len(content) - TAIL
        for length in range(len(content)):
            saved.write_bytes(content[:length])
            if length == plain:
                assert_holds(saved, ARRAYS, {})
                continue
            with pytest.raises(CheckpointError, match=r"some\.params"):
                load_arrays(saved)

    @pytest.mark.parametrize("extra", [b"\0", b"more"])
    def test_bytes_after_the_end(self, saved, extra):
        saved.write_bytes(saved.read_bytes() + extra)
        with pytest.raises(CheckpointError, match=r"some\.params"):
            load_arrays(saved)

    def test_missing(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"none\.params.*No such file"):
            load_arrays(tmp_path / "none.params")

    def test_a_list_of_arrays(self, tmp_path):
        mx.nd.save(str(tmp_path / "list.params"), [mx.nd.zeros(2)])
        with pytest.raises(CheckpointError, match=r"list\.params.*without names"):
            load_arrays(tmp_path / "list.params")

    @pytest.mark.parametrize("name", ["toy.onnx", "toy.json"])
    def test_another_kind_of_file(self, saved, name):
        path = saved.with_name(name)
        path.write_bytes(b"{}" * 100)
        with pytest.raises(CheckpointError, match=rf"{name}: is no .*; a \.params file is wanted$"):
            load_arrays(path)
        path.write_bytes(saved.read_bytes())  # the same under another name
        assert_holds(path, ARRAYS, DESCRIPTION)

    def test_a_pickle_is_refused_and_not_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "was run"),)

        (tmp_path / "trap.params").write_bytes(pickle.dumps({"weight": Trap()}))
        with pytest.raises(CheckpointError, match=r"trap\.params"):
            load_arrays(tmp_path / "trap.params")
        assert not (tmp_path / "was run").exists()


class TestFailingDisk:
    @staticmethod
    def assert_keeps_the_old(saved):
        with pytest.raises(CheckpointError, match=r"some\.params: could not be saved"):
            save_arrays(saved, {"other": mx.nd.zeros(2)}, {})
        assert_holds(saved, ARRAYS, DESCRIPTION)
        assert os.listdir(saved.parent) == [saved.name]

    def test_full_at_fsync(self, saved, monkeypatch):
        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        self.assert_keeps_the_old(saved)

    @pytest.mark.parametrize("written", [0, 0.5, 0.99])
    def test_mxnet_writes_less_and_says_nothing(self, saved, monkeypatch, written):
        save = mx.nd.save

        def cut(name, arrays):
            save(name, arrays)
            os.truncate(name, int(os.path.getsize(name) * written))

        monkeypatch.setattr(mx.nd, "save", cut)
        self.assert_keeps_the_old(saved)

    def test_failing_rename(self, saved, monkeypatch):
        def fail(source, target):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "replace", fail)
        self.assert_keeps_the_old(saved)

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CheckpointError, match=r"some\.params: could not be saved"):
            save_arrays(tmp_path / "file" / "some.params", ARRAYS, {})


def save_forever(path):
    """One file after the other; the number in the arrays is the description's."""
    for number in range(10**6):
        arrays = {name: mx.nd.full((100, 1000), number) for name in "ab"}
        save_arrays(path, arrays, {"number": number})


def test_killed_at_any_moment_a_whole_file_is_there(tmp_path):
    path, rng = tmp_path / "some.params", np.random.default_rng(0)
    numbers = set()
    save_arrays(path, {name: mx.nd.zeros((100, 1000)) for name in "ab"}, {"number": 0})
    for _ in range(20):
        saving = multiprocessing.get_context("fork").Process(target=save_forever, args=(path,))
        saving.start()
        time.sleep(rng.uniform(0.02, 0.5))
        saving.kill()
        saving.join()
        arrays, description = load_arrays(path)
        for name in "ab":
            assert (arrays[name].asnumpy() == description["number"]).all()
        numbers.add(description["number"])
    assert saving.exitcode == -signal.SIGKILL
    assert max(numbers) > 0


class TestSetParameters:
    def test_round_trip_through_a_file(self, toy, tmp_path):
        ours, theirs = toy(seed=1), toy(seed=2)
        save_arrays(tmp_path / "net.params", parameters_of(ours), {})
        set_parameters(theirs, load_arrays(tmp_path / "net.params")[0], "net.params")
        images, points_yx = mx.nd.random.normal(shape=(1, 3, 16, 16)), mx.nd.ones((1, 1, 2))
        for a, b in zip(ours(images, points_yx), theirs(images, points_yx)):
            np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (lambda a: a.pop("semantic_head.6.bias"), r"semantic_head\.6\.bias is missing"),
            (lambda a: a.update(extra=mx.nd.zeros(1)), "extra is unknown"),
            (
                lambda a: a.update({"backbone.fe.0.bias": mx.nd.zeros(5)}),
                r"backbone\.fe\.0\.bias has shape \(5,\), the network wants \(4,\)",
            ),
            (  # as many numbers, but not the same
                lambda a: a.update({"semantic_head.6.weight": mx.nd.zeros((32, 2, 1, 1))}),
                r"semantic_head\.6\.weight has shape \(32, 2, 1, 1\), the network wants \(2, 32,",
            ),
        ],
        ids=["missing", "unknown", "size", "shape"],
    )
    def test_another_networks_are_refused_by_name(self, toy, change, problem):
        network, arrays = toy(seed=1), dict(parameters_of(toy(seed=2)))
        before = {k: v.asnumpy() for k, v in parameters_of(network).items()}
        change(arrays)
        with pytest.raises(CheckpointError, match=rf"(?s)the\.params.*1 differ: {problem}"):
            set_parameters(network, arrays, "the.params")
        for name, value in parameters_of(network).items():
            np.testing.assert_array_equal(value.asnumpy(), before[name], err_msg=name)

    def test_another_width(self, toy):
        with pytest.raises(CheckpointError, match=r"differ: .*has shape.*, the network wants"):
            set_parameters(toy(width=4), parameters_of(toy(width=6)), "wide.params")

    def test_a_dense_weight_fits_a_1x1_convolution(self, toy):
        network, arrays = toy(seed=1), dict(parameters_of(toy(seed=2)))
        flat = arrays["controller.layers.0.weight"].reshape((4, 4))
        set_parameters(network, {**arrays, "controller.layers.0.weight": flat}, "dense.params")
        found = parameters_of(network)["controller.layers.0.weight"]
        np.testing.assert_array_equal(found.asnumpy()[:, :, 0, 0], flat.asnumpy())
