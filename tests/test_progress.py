"""Progress: lines at each tenth and minute outside a terminal, a bar in one."""

from __future__ import annotations

import sys

import pytest
from tqdm import tqdm

from adaptis import progress as module
from adaptis.inference.greedy import Step
from adaptis.inference.iterations import shown_beside
from adaptis.progress import progress, say


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def lines(capsys):
    error = capsys.readouterr().err
    assert "\r" not in error
    return error.splitlines()


def test_a_line_each_ten_percent(capsys):
    assert list(progress(range(40), "segmenting", unit="image")) == list(range(40))
    said = lines(capsys)
    assert len(said) == 10
    assert said[0].startswith("segmenting: 10 % (4 of 40), ")
    assert said[-1].startswith("segmenting: 100 % (40 of 40), ")


def test_no_more_lines_than_steps(capsys):
    list(progress(range(3)))
    assert [line.split(",")[0] for line in lines(capsys)] == [
        "33 % (1 of 3)",
        "67 % (2 of 3)",
        "100 % (3 of 3)",
    ]


def test_a_line_each_minute(capsys, clock):
    shown = progress(desc="training", total=1000, initial=500)
    for _ in range(50):
        clock[0] += 10
        shown.update()
        shown.set_postfix({"loss": "0.1"})
    said = lines(capsys)
    assert [line.split(",")[0] for line in said] == [
        f"training: {percent} % ({done} of 1000)"
        for done, percent in (
            (506, 51), (512, 51), (518, 52), (524, 52), (530, 53), (536, 54), (542, 54), (548, 55)
        )
    ]  # fmt: skip
    assert said[0].endswith("01:00<1:22:20, loss=0.1")  # 494 steps of 10 s are left


def test_what_is_not_to_stay_says_nothing_within_a_minute(capsys, clock):
    for _ in progress(range(50), "validation", leave=False):
        clock[0] += 2
    assert [line.split(",")[0] for line in lines(capsys)] == ["validation: 60 % (30 of 50)"]


def test_iterations_of_a_long_image(capsys, clock):
    images = progress(range(2), "segmenting")
    for _ in images:
        on_step = shown_beside(images)
        for accepted in [True, False, True, False, False, False, True]:
            clock[0] += 20
            on_step(Step((0, 0), None, accepted), None)
    assert lines(capsys) == [
        "segmenting: 0 % (0 of 2), 01:00<?, iterations=3, objects=2",
        "segmenting: 0 % (0 of 2), 02:00<?, iterations=6, objects=2",
        "segmenting: 50 % (1 of 2), 02:20<02:20, iterations=7, objects=3",
        "segmenting: 50 % (1 of 2), 03:20<03:20, iterations=3, objects=2",
        "segmenting: 50 % (1 of 2), 04:20<04:20, iterations=6, objects=2",
        "segmenting: 100 % (2 of 2), 04:40<00:00, iterations=7, objects=3",
    ]


def test_without_a_total(capsys, clock):
    for _ in progress(iter(range(3)), "reading"):
        clock[0] += 60
    said = lines(capsys)
    assert len(said) == 3
    assert all(line.startswith("reading: ") for line in said)


def test_a_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = progress(range(3), "reading")
    assert isinstance(shown, tqdm)
    assert list(shown) == [0, 1, 2]
    assert "\r" in capsys.readouterr().err


def test_a_line_of_its_own(capsys):
    say("left out")
    assert capsys.readouterr() == ("", "left out\n")
