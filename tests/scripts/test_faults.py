"""Full disks, folders that go, neighbours, Ctrl-C, weights exchanged while they are read, images
that can't be segmented: an evaluation ends with one sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

import test_panoptic
from adaptis.disk import DiskError, sole_user
from adaptis.errors import ResultsError
from adaptis.evaluation.results import PredictionFolder
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.training.checkpoints import TrainingError
from tests.paths import ROOT
from tests.training_runs import train
from tests.untrained import write_images, write_weights

INFERENCE = {"points": "proposals", "peak_threshold": 0.99}  # few, of an untrained network


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy):
    """Three images and the weights of an untrained network."""
    root = tmp_path_factory.mktemp("toy")
    write_images(root / "data", "abc", [np.s_[2:8, 2:8]])
    write_weights(root / "w.params", toy(4), INFERENCE)
    return root


def arguments(folder, output, *options):
    where = ("--data-root", folder / "data", "--weights", folder / "w.params", "--output", output)
    return [str(a) for a in ("toy", *where, "--pictures", 0, *options)]


def evaluate(folder, output, *options):
    metrics = test_panoptic.main(arguments(folder, output, *options))
    del metrics["seconds_per_image"]
    return json.dumps(metrics)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """What an evaluation gives that nothing disturbs."""
    return evaluate(folder, tmp_path_factory.mktemp("whole"))


def predicted(output):
    return sorted(path.stem for path in (output / "predictions").glob("[!.]*.json"))


@pytest.fixture
def after(monkeypatch):
    """A function: what happens once a number of predictions are written."""

    def happens(number, action):
        write, calls = PredictionFolder.write, []

        def then_act(self, *arguments):
            write(self, *arguments)
            calls.append(1)
            if len(calls) == number:
                action()

        monkeypatch.setattr(PredictionFolder, "write", then_act)

    return happens


def test_a_full_disk(folder, whole, tmp_path, after):
    """Files can't grow from the second image on; with space again the same command goes on."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    after(1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1])))
    try:
        with pytest.raises(DiskError, match=rf"^{tmp_path}/out/predictions/b.png: File too large"):
            evaluate(folder, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert predicted(tmp_path / "out") == ["a"]
    assert evaluate(folder, tmp_path / "out") == whole


def test_an_output_that_is_a_file(folder, tmp_path):
    (tmp_path / "out").touch()
    for output in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(DiskError, match=rf"^{tmp_path}/out"):
            evaluate(folder, output)


def test_an_output_deleted_midway(folder, whole, tmp_path, after):
    after(2, lambda: shutil.rmtree(tmp_path / "out"))
    with pytest.raises(ResultsError, match=rf"{tmp_path}/out/predictions/a.png: .*is missing"):
        evaluate(folder, tmp_path / "out")
    assert evaluate(folder, tmp_path / "out") == whole


def test_two_in_one_folder(folder, tmp_path):
    in_use = pytest.raises(DiskError, match=rf"{tmp_path}/out: is in use by process \d+ on")
    with sole_user(tmp_path / "out"), in_use:
        evaluate(folder, tmp_path / "out")
    evaluate(folder, tmp_path / "out")


def test_two_trainings_in_one_folder(data, tmp_path):
    with sole_user(tmp_path / "instances"), pytest.raises(DiskError, match="is in use by process"):
        train(data, tmp_path)
    assert not list(tmp_path.rglob("*.params"))


def test_the_folder_is_the_same_however_it_is_typed(folder, tmp_path):
    first = evaluate(folder, tmp_path / "out")
    again = evaluate(folder, tmp_path / "out", "--data-root", f"{folder}/./data//")
    assert json.loads(again)["pq"] == json.loads(first)["pq"]
    other = shutil.copytree(folder / "data", tmp_path / "other")
    evaluate(folder, tmp_path / "out", "--data-root", other)  # holds the same
    Image.new("RGB", (16, 16)).save(other / "test" / "b_rgb.png")
    with pytest.raises(ResultsError, match=r"another run .images_sha256: "):
        evaluate(folder, tmp_path / "out", "--data-root", other)


def test_weights_replaced_while_they_are_read(folder, tmp_path, toy, monkeypatch):
    """The record names the weights that were used, be it the old or the new ones."""
    path = tmp_path / "w.params"
    path.write_bytes((folder / "w.params").read_bytes())
    load = mx.nd.load_frombuffer

    def then_replace(content):
        arrays = load(content)
        monkeypatch.setattr(mx.nd, "load_frombuffer", load)
        write_weights(path, toy(4, seed=1), INFERENCE)
        return arrays

    monkeypatch.setattr(mx.nd, "load_frombuffer", then_replace)
    found = json.loads(evaluate(folder, tmp_path / "out", "--weights", path))
    old = (folder / "w.params").read_bytes()
    assert found["weights_sha256"] == hashlib.sha256(old).hexdigest()
    assert path.read_bytes() != old


def test_images_that_can_not_be_segmented_do_not_stop_the_others(folder, tmp_path):
    data = shutil.copytree(folder / "data", tmp_path / "data")
    for name, size in (("aa", (33_000, 1)), ("ab", (4000, 2))):  # width and height
        Image.new("RGB", size).save(data / "test" / f"{name}_rgb.png")
        Image.new("L", size).save(data / "test" / f"{name}_im.png")
    (data / "test" / "b_rgb.png").write_bytes(b"cut")
    with pytest.raises(ResultsError) as raised:
        evaluate(folder, tmp_path / "out", "--data-root", data)
    message = str(raised.value)
    assert "2 of 5 images can't be segmented" in message
    assert f"{data}/test/aa_im.png: is 1 x 33000 (height x width), at most" in message
    assert f"{data}/test/b_rgb.png: can't be read" in message
    assert predicted(tmp_path / "out") == ["a", "ab", "c"]


def test_an_image_for_which_there_is_no_memory(folder, whole, tmp_path, monkeypatch):
    set_image, images = AdaptISPredictor.set_image, []

    def set_or_fail(self, image):
        images.append(image)
        if len(images) == 2:
            raise MemoryError
        set_image(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(AdaptISPredictor, "set_image", set_or_fail)
        with pytest.raises(ResultsError, match=r"1 of 3 images .*/test/b_rgb\.png: MemoryError"):
            evaluate(folder, tmp_path / "out")
    assert predicted(tmp_path / "out") == ["a", "c"]
    assert evaluate(folder, tmp_path / "out") == whole


def test_images_of_several_sizes_make_no_batch(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    for kind in ("rgb", "im"):
        path = copy / "train" / f"00003_{kind}.png"
        with Image.open(path) as image:
            image.crop((0, 0, 20, 30)).save(path)
    for workers in (0, 2):
        with pytest.raises(
            TrainingError, match=r"several sizes .*/00003_rgb\.png: 30 x 20.*--crop"
        ):
            train(copy, tmp_path / str(workers), "--workers", workers)


STARTED = "import sys, test_panoptic as t; from adaptis.arguments import run_script; "


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_ctrl_c(folder, whole, tmp_path, seconds):
    """Once predictions begin, and at some moments after that: one line, and the same result when it
    goes on."""
    code = STARTED + "run_script(lambda: t.main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments(folder, tmp_path / "out")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "out" / "predictions").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=100)
    assert "Traceback" not in error
    if process.returncode == 130:
        assert error.strip().splitlines()[-1].startswith("stopped: what was finished is kept")
    else:  # it was done before
        assert (process.returncode, "the results are in" in output) == (0, True)
    assert evaluate(folder, tmp_path / "out") == whole


def test_ctrl_c_while_an_object_ends(tmp_path):
    """Which Python tells and forgets."""
    code = (
        "import time\n"
        "from adaptis.arguments import run_script\n"
        "class Array:\n"
        "    def __del__(self):\n"
        "        raise KeyboardInterrupt\n"
        "def main():\n"
        "    Array()\n"
        "    print('went on')\n"
        "run_script(main)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stdout) == (130, "")
    assert finished.stderr.startswith("\nstopped: ")
    assert "Traceback" not in finished.stderr


def test_a_reader_that_has_enough():
    """As in ``| head -1``."""
    code = "from adaptis.arguments import run_script\n" + (
        "run_script(lambda: [print('line') for _ in range(100_000)])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + signal.SIGPIPE
