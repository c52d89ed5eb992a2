"""Readers of foreign files on what hypothesis makes of sound ones: accepted, or an error of ours.

A minute in all; ``FUZZ_EXAMPLES=10000 pytest tests/test_fuzz.py`` looks for longer.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adaptis.description import check_description
from adaptis.errors import AdaptISError, ResultsError
from adaptis.evaluation.results import PredictionFolder
from adaptis.inference.settings import InferenceSettings
from adaptis.json_types import parse_json
from adaptis.parameter_format import ParameterFormatError, check_format
from datasets.base import DataError
from datasets.files import read_image, read_labels, read_rgb_ids
from datasets.formats import open_dataset
from models.options import check_network
from tests.datasets.test_mutations import COCO, CONTENT, FILES, JSON, SPLITS, write_sound
from tests.test_description import DESCRIPTION

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def mutations(draw, content):
    """JSON with some of its values replaced, removed, doubled or exchanged."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        inner = content
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], (dict, list)) and inner[key] and draw(st.integers(0, 3)):
                inner = inner[key]
                continue
            kind = draw(st.sampled_from(["replace", "replace", "remove", "copy"]))
            if kind == "remove":
                del inner[key]
            elif kind == "copy":
                inner[key] = copy.deepcopy(inner[draw(st.sampled_from(keys))])
            else:
                inner[key] = draw(JSON_VALUES)
            break
    return content


@st.composite
def damages(draw, content: bytes):
    """Bytes with some cut out, put in and changed."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 8)))
        content[start:stop] = draw(st.binary(max_size=8))
    return bytes(content)


@pytest.fixture(scope="module", params=FILES)
def data_set(request, tmp_path_factory):
    """Of each format: its name and its folder."""
    root = tmp_path_factory.mktemp(request.param)
    write_sound(request.param, root)
    return request.param, root


def read_all(name, root):
    try:
        dataset = open_dataset(name, root, SPLITS[name])
        for index in range(len(dataset)):
            dataset[index]
    except DataError as error:
        named_in(error, root)


def named_in(error: AdaptISError, path) -> None:
    if str(path) not in str(error):
        raise AssertionError(f"{path} isn't named") from error


@pytest.mark.parametrize("data_set", JSON, indirect=True)
@FUZZ
@given(data=st.data())
def test_json_of_data_sets(data_set, data):
    name, root = data_set
    sound = (root / JSON[name]).read_bytes()
    try:
        text = json.dumps(data.draw(mutations(CONTENT[name])))
        if data.draw(st.booleans()):
            text = data.draw(damages(sound)).decode("latin-1")
        (root / JSON[name]).write_text(text)
        read_all(name, root)
    finally:
        (root / JSON[name]).write_bytes(sound)


@FUZZ
@given(data=st.data())
def test_files_of_data_sets(data_set, data):
    name, root = data_set
    path = root / data.draw(st.sampled_from(FILES[name]))
    sound = path.read_bytes()
    try:
        path.write_bytes(data.draw(damages(sound)))
        read_all(name, root)
    finally:
        path.write_bytes(sound)


def encoded(kind: str, array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
IMAGES = [
    *(encoded(kind, RGB) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")),
    *(encoded(kind, RGB[..., 0].astype(np.uint16) * 257) for kind in ("PNG", "TIFF")),
    encoded(
        "PNG", RGB, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0"
    ),
    encoded("TIFF", RGB[..., 0].astype(np.float32)),
]


@FUZZ
@given(content=st.sampled_from(IMAGES).flatmap(damages))
def test_images(tmp_path, content):
    for read in (read_image, read_labels, read_rgb_ids):
        (tmp_path / "a").write_bytes(content)
        try:
            assert read(tmp_path / "a").shape[:2] != (0, 0)
        except DataError as error:
            named_in(error, tmp_path / "a")


@FUZZ
@given(content=mutations(DESCRIPTION))
def test_descriptions(content):
    with contextlib.suppress(ValueError):  # what a weights file's reader makes CheckpointErrors of
        check_description(parse_json(json.dumps(content)))
        check_network(content.get("network", {}))
        InferenceSettings.from_description(content.get("inference", {}))


@FUZZ
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_parameters(content):
    with pytest.raises(ParameterFormatError):
        check_format(content)


@FUZZ
@given(data=st.data())
def test_predictions(tmp_path, data):
    """A prediction is read as it was written, or not at all."""
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    ids = np.array([[1, 1, 2], [0, 2, 2]])
    segments = [{"id": i, "category_id": 7, "score": 0.5} for i in (1, 2)]
    folder.write("a", ids, segments, ids % 2)
    expected = folder.read("a")
    path = tmp_path / "p" / data.draw(st.sampled_from(["a.json", "a.png", "semantic/a.png"]))
    path.write_bytes(data.draw(damages(path.read_bytes())))
    try:
        found = folder.read("a")
    except ResultsError as error:
        named_in(error, tmp_path / "p" / "a")
        return
    assert found[1] == expected[1]
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[2], expected[2])


def test_mutations_change_something():
    """Else the above would prove nothing."""
    seen = set()

    @settings(max_examples=50, database=None)
    @given(mutations(COCO))
    def look(content):
        seen.add(json.dumps(content))

    look()
    assert len(seen - {json.dumps(COCO)}) > 20
