"""A network as one .onnx file: the same results, and files that are damaged or others' refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from adaptis import AdaptISPredictor, export
from adaptis.arguments import Device, DeviceError
from adaptis.disk import DiskError
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.onnx_backend import ONNXBackend, sha256_entry
from adaptis.weights import CheckpointError
from datasets.toy_scenes import generate_scene
from tests.paths import ROOT

WEIGHTS = ROOT / "weights" / "toy.params"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "toy.onnx"
    export.main([str(WEIGHTS), str(path)])
    return path


def test_the_command_says_how_much_it_differs(tmp_path, capsys):
    export.main([str(WEIGHTS), str(tmp_path / "new folder" / "toy.onnx")])
    said = capsys.readouterr().out
    assert "toy.onnx: written; differs from MXNet by at most" in said
    assert float(said.split()[-1]) < 1e-4


@pytest.mark.parametrize("flip", [False, True])
def test_the_records_are_mxnets(exported, flip):
    image, _ = generate_scene(np.random.default_rng(3), 64, 5, 5)
    ours, theirs = (AdaptISPredictor.load(path) for path in (WEIGHTS, exported))
    assert theirs.classes == ours.classes
    assert theirs.settings == ours.settings
    assert theirs.weights_sha256 != ours.weights_sha256
    expected, given = (predictor.segment(image, flip=flip) for predictor in (ours, theirs))
    assert len(given) == len(expected) > 2
    for theirs_, ours_ in zip(given, expected):
        # a mean over the mask, which differs in single pixels
        assert theirs_["score"] == pytest.approx(ours_["score"], abs=1e-3)
        assert theirs_["point_coords"] == ours_["point_coords"]
        assert theirs_["category_id"] == ours_["category_id"]
    maps = [
        sum(number * record["segmentation"] for number, record in enumerate(records, start=1))
        for records in (given, expected)
    ]
    assert np.mean(maps[0] == maps[1]) >= 0.999


def test_the_authors_file_is_exported(reference, tmp_path):
    path = tmp_path / "authors.onnx"
    assert export.export(reference / "authors_toy_width8.params", path) < 1e-4
    assert AdaptISPredictor.load(path).settings.flip


def test_float16_is_half_the_size_and_near(exported, tmp_path):
    path = tmp_path / "half.onnx"
    export.export(WEIGHTS, path, half=True)
    assert path.stat().st_size < 0.55 * exported.stat().st_size
    whole, half = (AdaptISPredictor.load(p) for p in (exported, path))
    image = generate_scene(np.random.default_rng(0), 64, 4, 4)[0]
    expected, given = (predictor.segment(image) for predictor in (whole, half))
    assert len(given) == len(expected) > 2
    for ours, theirs in zip(given, expected):
        assert ours["score"] == pytest.approx(theirs["score"], abs=0.02)


@pytest.fixture
def known_differences(monkeypatch):
    """A function: of the exported network and of changed last bits."""

    def know(of_exported, of_last_bits):
        monkeypatch.setattr(
            export,
            "largest_difference",
            lambda _, other, *__: (
                of_last_bits if isinstance(other, export.LastBitsChanged) else of_exported
            ),
        )

    return know


@pytest.mark.parametrize(
    ("difference", "of_last_bits"), [(2e-4, 0), (np.nan, 0), (9e-4, 8e-5), (2e-2, 0.1)]
)
def test_what_differs_is_not_written(tmp_path, known_differences, difference, of_last_bits):
    known_differences(difference, of_last_bits)
    path = tmp_path / "toy.onnx"
    with pytest.raises(export.ExportError, match=r"toy\.params: .*differs.*was not written"):
        export.export(WEIGHTS, path)
    assert not path.exists()


def test_what_differs_by_rounding_is_written(tmp_path, known_differences):
    known_differences(9e-4, of_last_bits=1e-4)
    assert export.export(WEIGHTS, tmp_path / "toy.onnx") == 9e-4


def test_changed_last_bits_are_the_last():
    class Images:
        name = "images"

        def encode(self, image):
            return image

    image = np.random.default_rng(0).normal(0, 1, (1, 3, 50, 40)).astype(np.float32)
    changed = export.LastBitsChanged(Images())
    assert changed.name == "images"
    steps = (changed.encode(image) - image) / np.spacing(np.abs(image))
    assert 0.4 < np.mean(steps > 0) < 0.6
    assert np.isin(np.abs(steps), (0.5, 1)).all()


@pytest.mark.parametrize("branch", ["selection.adains.0.scale.bias", "semantic_head.6.bias"])
def test_a_difference_is_seen(exported, branch):
    original, description, _ = MXNetBackend.load(WEIGHTS, Device("cpu"))
    parameter = original.network._collect_params_with_prefix()[branch]
    steps = 0.1 * np.arange(parameter.shape[0])  # the same for all classes would change nothing
    parameter.set_data(parameter.data().asnumpy() + steps)
    theirs = ONNXBackend(exported.read_bytes(), Device("cpu"))
    mean, std = description["mean"], description["std"]
    assert export.largest_difference(original, theirs, mean, std) > 1e-3


def test_other_programs_can_read_it(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["adaptis"])["network"]["architecture"] == "toy"
    head = onnx.load_from_string(base64.b64decode(metadata["adaptis_head"]))
    onnx.checker.check_model(head, full_check=True)

    image = np.zeros((1, 3, 30, 20), np.float32)
    session = onnxruntime.InferenceSession(exported.read_bytes())
    code_map, selection_input, probabilities, proposals = session.run(None, {"image": image})
    assert probabilities.shape == (2, 30, 20)
    assert proposals.shape == (30, 20)
    (confidences,) = onnxruntime.InferenceSession(head.SerializeToString()).run(
        None,
        {
            "code_map": code_map,
            "selection_input": selection_input,
            "points_yx": np.float32([[3, 4], [20, 10]]),
            "corners_yx": np.zeros((1, 2), np.float32),
            "size": np.int64([30, 20]),
        },
    )
    assert confidences.shape == (2, 30, 20)


def test_damaged_files_are_refused(exported, tmp_path):
    content, path = exported.read_bytes(), tmp_path / "damaged.onnx"
    rng = np.random.default_rng(0)
    for position in [0, *rng.integers(len(content), size=20).tolist(), len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged\.onnx: is (damaged|cut)"):
            AdaptISPredictor.load(path)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"damaged\.onnx: is cut"):
            AdaptISPredictor.load(path)


def test_other_files_are_refused(exported, tmp_path):
    path = tmp_path / "other.onnx"
    with pytest.raises(CheckpointError, match=r"other\.onnx: can't be read"):
        AdaptISPredictor.load(path)
    model = onnx.load(exported)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"no file of python -m adaptis\.export"):
        AdaptISPredictor.load(path)
    content = model.SerializeToString()
    path.write_bytes(content + sha256_entry(content))
    with pytest.raises(CheckpointError, match=r"other\.onnx: has no 'adaptis'"):
        AdaptISPredictor.load(path)
    metadata = {"adaptis": '{"classes": []}', "adaptis_head": "", "adaptis_stride": "1"}
    onnx.helper.set_model_props(model, metadata)
    content = model.SerializeToString()
    path.write_bytes(content + sha256_entry(content))
    with pytest.raises(CheckpointError, match=r"other\.onnx: .*classes"):
        AdaptISPredictor.load(path)
    content = onnx.helper.make_model(onnx.GraphProto(name="empty")).SerializeToString() + b"\xff"
    path.write_bytes(content + sha256_entry(content))
    with pytest.raises(CheckpointError, match=r"other\.onnx: .*ONNX Runtime .* can't run it"):
        AdaptISPredictor.load(path)


@pytest.fixture
def no_loading(monkeypatch):
    monkeypatch.setattr(MXNetBackend, "load", lambda *_: pytest.fail("the weights were loaded"))


@pytest.mark.parametrize("name", ["w.params", "w", "."])
def test_other_endings_are_refused_before_anything_is_loaded(tmp_path, no_loading, name):
    weights, path = tmp_path / "w.params", tmp_path / name
    weights.write_bytes(b"weights")
    with pytest.raises(export.ExportError, match=rf"^OUT\.onnx: {path} must end in \.onnx$"):
        export.main([str(weights), str(path)])
    assert weights.read_bytes() == b"weights"


def test_the_weights_are_not_overwritten(tmp_path, no_loading):
    path = tmp_path / "w.onnx"
    path.write_bytes(b"weights")
    with pytest.raises(export.ExportError, match=r"w\.onnx: is the file of the weights"):
        export.main([str(path), str(path)])
    assert path.read_bytes() == b"weights"


def test_a_folder_of_that_name(tmp_path, no_loading):
    (tmp_path / "toy.onnx").mkdir()
    with pytest.raises(DiskError, match=rf"^{tmp_path}/toy\.onnx: is a folder; nothing was w"):
        export.main([str(WEIGHTS), str(tmp_path / "toy.onnx")])


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"file"):
        export.export(WEIGHTS, tmp_path / "file" / "toy.onnx")


@pytest.mark.parametrize(
    ("ctx", "package"),
    [("cuda", "onnxruntime-gpu"), ("1", "gpu"), ("coreml", "macOS"), ("directml", "-directml")],
)
def test_a_device_that_is_not_there(exported, ctx, package):
    if ctx in ("cuda", "1") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match=f"ctx .*{package}"):
        AdaptISPredictor.load(exported, ctx)


def test_settings_hold_with_either(exported):
    image = generate_scene(np.random.default_rng(0), 64, 4, 4)[0]
    ours, theirs = (AdaptISPredictor.load(path) for path in (WEIGHTS, exported))
    results = []
    for predictor in (ours, theirs):
        predictor.settings = replace(predictor.settings, longest_side=50, points="random", seed=3)
        results.append([record["area"] for record in predictor.segment(image)])
    np.testing.assert_allclose(*results, rtol=0.02)
