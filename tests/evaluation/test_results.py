"""The folder of results and its scores, on hand-drawn maps."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptis.errors import ResultsError
from adaptis.evaluation.ground_truth import GroundTruth
from adaptis.evaluation.panoptic_quality import write_panoptic_png
from adaptis.evaluation.results import PredictionFolder, file_stem
from tests.scores import score_truths

CATEGORIES = [
    {"id": id_, "name": name, "isthing": isthing, "color": [0, 0, 0]}
    for id_, name, isthing in ((10, "sky", 0), (11, "road", 0), (20, "car", 1))
]
TRUTH = np.array([[1, 1, 1, 1], [3, 3, 2, 2]])
CLASS_MAP = np.array([[0, 0, 0, 0], [2, 2, 1, 1]], np.uint8)
TRUTH_CATEGORIES = {1: 10, 2: 11, 3: 20}


def segments(scores=(0.9, 0.8, 0.7)):
    return [
        {"id": i, "category_id": TRUTH_CATEGORIES[i], "score": s} for i, s in zip((1, 2, 3), scores)
    ]


def scored(folder, tmp_path, names=("a",)):
    truths = [GroundTruth(name, 7, TRUTH, TRUTH_CATEGORIES, set(), CLASS_MAP) for name in names]
    return score_truths(folder, truths, CATEGORIES, tmp_path / "out", (0.5, 0.9))


def test_perfect_predictions_score_one(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    metrics = scored(folder, tmp_path)
    assert metrics["pq"]["all"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 3}
    assert metrics["ap"] == {"0.5": pytest.approx(1), "0.9": pytest.approx(1)}
    assert metrics["miou"] == 1
    assert metrics["counts"] == {"found": 1, "missed": 0, "false_positives": 0}


def test_a_known_error_scores_by_hand(tmp_path):
    """Half of the road is called car: sky 1; road IoU 1/2 is no match; car IoU 2/3."""
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", np.array([[1, 1, 1, 1], [3, 3, 3, 2]]), segments(), CLASS_MAP % 2)
    metrics = scored(folder, tmp_path)
    assert metrics["pq"]["things"]["pq"] == pytest.approx(2 / 3)
    assert metrics["pq"]["stuff"]["pq"] == pytest.approx(1 / 2)
    assert metrics["ap"] == {"0.5": pytest.approx(1), "0.9": 0}
    assert metrics["miou"] == pytest.approx((4 / 6 + 1 + 0) / 3)  # car taken for sky everywhere


def test_a_folder_goes_on_where_it_stopped_and_redoes_what_is_damaged(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    again = PredictionFolder(tmp_path / "p", {"weights": "w"})
    assert again.has("a")
    assert not again.has("b")
    png = tmp_path / "p" / "a.png"
    png.write_bytes(png.read_bytes()[:-20])
    assert not again.has("a")
    with pytest.raises(ResultsError, match=r"a\.png"):
        scored(again, tmp_path)


def test_a_json_that_contradicts_its_png_is_damaged(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    path = tmp_path / "p" / "a.json"
    path.write_text(
        json.dumps({"segments_info": json.loads(path.read_text())["segments_info"][:-1]})
    )
    assert not folder.has("a")


def test_results_of_another_run_are_refused(tmp_path):
    PredictionFolder(tmp_path / "p", {"weights": "w", "flip": False})
    with pytest.raises(ResultsError, match="flip: False, now True"):
        PredictionFolder(tmp_path / "p", {"weights": "w", "flip": True})
    with pytest.raises(ResultsError, match="no such folder"):
        PredictionFolder(tmp_path / "missing")


def test_predictions_are_handed_in_by_the_images_own_id(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    scored(folder, tmp_path)
    (annotation,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (7, "a.png")
    assert annotation["segments_info"][2] == {
        **{"id": 3, "category_id": 20, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 0},
        "score": 0.7,
    }


SKY = (TRUTH == 1).astype(int)  # one segment
LARGE = TRUTH * 5_000_000  # ids of 24 bits


@pytest.mark.parametrize(
    ("truth", "category_ids", "crowd_ids", "predicted", "groups"),
    [
        (TRUTH * (TRUTH == 3), {3: 20}, {3}, 0 * TRUTH, ()),  # a crowd only, and it isn't found
        (TRUTH * (TRUTH == 3), {3: 20}, {3}, TRUTH * (TRUTH == 3), ()),  # and it is
        (SKY, {1: 10}, set(), SKY, ("all", "stuff")),  # no things
        (SKY, {1: 20}, set(), SKY, ("all", "things")),  # no stuff
        (0 * TRUTH, {}, set(), 0 * TRUTH, ()),  # only void
        (0 * TRUTH, {}, set(), TRUTH, ()),  # only void, whatever is found in it
        (LARGE, {i * 5_000_000: c for i, c in TRUTH_CATEGORIES.items()}, set(), TRUTH, ("all",)),
    ],
)
def test_unbalanced_images(tmp_path, truth, category_ids, crowd_ids, predicted, groups):
    """What is there scores 1, and NaN what isn't."""
    folder = PredictionFolder(tmp_path / "p", {})
    categories = {**TRUTH_CATEGORIES, 1: category_ids.get(1, 10)}
    records = [
        {"id": i, "category_id": categories[i], "score": 1} for i in np.unique(predicted) if i
    ]
    folder.write("a", predicted, records, np.zeros((2, 4), np.uint8))
    semantic_map = np.full((2, 4), -1)
    images = [GroundTruth("a", 7, truth, category_ids, crowd_ids, semantic_map)]
    metrics = score_truths(folder, images, CATEGORIES, tmp_path / "out", (0.5,))
    for group in ("all", *groups):
        expected = 1 if groups else pytest.approx(float("nan"), nan_ok=True)
        assert metrics["pq"][group]["pq"] == expected
    has_objects = 20 in category_ids.values() and not crowd_ids
    assert metrics["ap"]["0.5"] == pytest.approx(1 if has_objects else np.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"panoptic_seg": TRUTH + (TRUTH == 3) * 6}, r"without category: \[9\].*segment: \[3\]"),
        ({"records": segments()[:2]}, r"without category: \[3\]"),
        ({"records": [*segments(), {**segments()[0], "id": 8}]}, r"without segment: \[8\]"),
        ({"records": [*segments(), segments()[0]]}, "share an id"),
        ({"records": segments((0.9, float("nan"), 0.7))}, "score is NaN, a finite number"),
        ({"records": [{"id": 1}]}, r"segments_info\[0\]\.category_id is missing"),
        ({"records": 3}, "segments_info is 3, a list was expected"),
        ({"panoptic_seg": TRUTH[:, :3]}, r"semantic.a\.png is \(2, 4\), the PNG \(2, 3\)"),
    ],
)
def test_damaged_predictions_are_named_and_redone(tmp_path, change, problem):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    if "records" in change:
        (tmp_path / "p" / "a.json").write_text(json.dumps({"segments_info": change["records"]}))
    else:
        write_panoptic_png(tmp_path / "p" / "a.png", change["panoptic_seg"])
    with pytest.raises(ResultsError, match=rf"p/a\..*{problem}.*; run with --weights"):
        scored(folder, tmp_path)
    assert not folder.has("a")


def test_any_flipped_bit_of_a_json_is_found(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    path = tmp_path / "p" / "a.json"
    content = path.read_bytes()
    expected = folder.read("a")[1]
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert not folder.has("a") or folder.read("a")[1] == expected


def test_predictions_made_elsewhere_need_no_sha256(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    (tmp_path / "p" / "a.json").write_text(json.dumps({"segments_info": segments()}))
    assert scored(folder, tmp_path)["pq"]["all"]["pq"] == 1


@pytest.mark.parametrize("content", ["", "3", "[1]", '{"weights": "', None])
def test_a_lost_record_of_the_run_is_made_anew(tmp_path, content):
    """From the predictions, which say what made them: none is lost or taken for another's."""
    run, path = {"weights": "w", "flip": False}, tmp_path / "p" / ".run.json"
    folder = PredictionFolder(tmp_path / "p", run)
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ResultsError, match=r"another run .flip: False, now True"):
        PredictionFolder(tmp_path / "p", {**run, "flip": True})
    assert PredictionFolder(tmp_path / "p", run).has("a")
    assert json.loads(path.read_text()) == run


def test_predictions_that_do_not_say_what_made_them_are_not_adopted(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    (tmp_path / "p" / "a.json").write_text(json.dumps({"segments_info": segments()}))
    assert PredictionFolder(tmp_path / "p", {}).has("a")  # as the folder says
    (tmp_path / "p" / ".run.json").unlink()
    with pytest.raises(ResultsError, match=r"a\.json: doesn't say which run made it"):
        PredictionFolder(tmp_path / "p", {})


def test_a_prediction_of_another_run_is_made_again(tmp_path):
    """Copied into the folder, for example."""
    for flip in (False, True):
        folder = PredictionFolder(tmp_path / str(flip), {"flip": flip})
        folder.write("a", TRUTH, segments(), CLASS_MAP)
    assert folder.has("a")
    (tmp_path / "True" / "a.json").write_bytes((tmp_path / "False" / "a.json").read_bytes())
    assert not folder.has("a")


def test_exchanged_predictions_are_found(tmp_path):
    """Each is whole and has its checksum, but is another image's."""
    folder = PredictionFolder(tmp_path / "p", {})
    for name in "ab":
        folder.write(name, TRUTH, segments(), CLASS_MAP)
    for end in ("{}.png", "{}.json", "semantic/{}.png"):
        a, b, aside = (tmp_path / "p" / end.format(name) for name in ("a", "b", "aside"))
        a.rename(aside)
        b.rename(a)
        aside.rename(b)
    assert not folder.has("a")
    with pytest.raises(ResultsError, match=r"p/b\.png: .*it is of image 'a'"):
        folder.read("b")


def test_files_of_earlier_versions_are_read(tmp_path):
    """They have no name and a checksum without it."""
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    png, text, semantic = (tmp_path / "p" / n for n in ("a.png", "a.json", "semantic/a.png"))
    records = json.loads(text.read_bytes())["segments_info"]
    signed = png.read_bytes() + semantic.read_bytes() + json.dumps(records, sort_keys=True).encode()
    old = {"segments_info": records, "sha256": hashlib.sha256(signed).hexdigest()}
    text.write_text(json.dumps(old))
    assert scored(folder, tmp_path)["pq"]["all"]["pq"] == 1
    text.write_text(json.dumps(old).replace("0.9", "0.8"))
    assert not folder.has("a")


NAMES = [
    "a",
    "b c",
    "b_c",
    "a.jpg",
    "semantic/a.jpg",
    ".run",
    "../x",
    "x" * 246,
    "x" * 247,
    "\ud800",
]


def test_any_two_images_have_files_of_their_own(tmp_path):
    folder = PredictionFolder(tmp_path / "p", {"weights": "w"})
    for number, name in enumerate(NAMES):
        folder.write(name, TRUTH, segments((number / 10,) * 3), CLASS_MAP)
    for number, name in enumerate(NAMES):
        assert folder.read(name)[1][0]["score"] == number / 10
    assert {p.parent for p in tmp_path.rglob("*.*")} == {
        *(tmp_path, tmp_path / "p", tmp_path / "p" / "semantic")
    } - {tmp_path}
    assert folder.file_name("aachen_000000_000019") == "aachen_000000_000019.png"
    assert PredictionFolder(tmp_path / "p", {"weights": "w"}).has("b c")


@given(st.lists(st.text(max_size=300), unique=True))
def test_stems_differ_and_fit_into_a_file_name(names):
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(stems)
    for name, stem in zip(names, stems):
        assert file_stem(stem) != stem or name == stem  # none looks like another's own
        assert len(stem.encode()) <= 120
        assert not set(stem) & set("/\\\0 \n")
        assert not stem.startswith(".")


@pytest.mark.parametrize("file_name", ["a.png", "a.json", "semantic/a.png"])
def test_missing_and_truncated_predictions(tmp_path, file_name):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", TRUTH, segments(), CLASS_MAP)
    path = tmp_path / "p" / file_name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultsError, match=r"a\.png: no usable prediction"):
        scored(folder, tmp_path)
    path.unlink()
    with pytest.raises(ResultsError, match=rf"a\.png: no usable prediction: .*{file_name}"):
        scored(folder, tmp_path)


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        ((TRUTH[:, :3], segments(), CLASS_MAP[:, :3]), r"\(2, 3\) .*, its image \(2, 4\)"),
        ((SKY, [{"id": 1, "category_id": 9, "score": 1}], CLASS_MAP), r"no categories \[9\]"),
        ((TRUTH, segments(), CLASS_MAP + 1), "class index 3 in semantic/, of 3 classes"),
    ],
)
def test_predictions_of_another_data_set(tmp_path, prediction, problem):
    folder = PredictionFolder(tmp_path / "p", {})
    folder.write("a", *prediction)
    with pytest.raises(ResultsError, match=rf"p/a\.png: .*{problem}; score predictions that were"):
        scored(folder, tmp_path)
