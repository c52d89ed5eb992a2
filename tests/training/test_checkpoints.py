"""What must agree on resuming, on descriptions alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptis.training.checkpoints import Checkpoint, TrainingCheckpoints, TrainingError


def check(ours, theirs, changed=()):
    checkpoint = Checkpoint(Path("run/checkpoint-0000001.params"), theirs, {}, {}, {}, {})
    TrainingCheckpoints(Path("run"), ours).check(checkpoint, changed)


@pytest.mark.parametrize("before", [{}, {"proposal_branch": "authors"}])
def test_runs_before_there_was_a_choice_have_the_authors_branch(before):
    check(
        {"network": {"width": 4, "proposal_branch": "authors"}}, {"network": {"width": 4, **before}}
    )
    message = r"network\.proposal_branch: authors, now paper"
    with pytest.raises(TrainingError, match=message):
        check({"network": {"proposal_branch": "paper"}}, {"network": before})


def test_what_the_other_stage_alone_reads_may_change():
    first = {"stage": "instances", "training": {"points": 8, "proposal_labels": "paper"}}
    check({**first, "training": {"points": 8, "proposal_labels": "authors"}}, first)
    with pytest.raises(TrainingError, match=r"training\.points: 8, now 4"):
        check({**first, "training": {"points": 4, "proposal_labels": "paper"}}, first)
    second = {**first, "stage": "proposals"}
    check({**second, "training": {"points": 4, "proposal_labels": "paper"}}, second)
    with pytest.raises(TrainingError, match=r"training\.proposal_labels: paper, now authors"):
        check({**second, "training": {"points": 8, "proposal_labels": "authors"}}, second)


def test_changes_on_purpose_are_said(capsys):
    check({"a": {"b": 2, "c": 3}}, {"a": {"b": 1, "c": 3}}, changed=["a.b", "a.c"])
    assert (
        capsys.readouterr().err == "run/checkpoint-0000001.params: goes on with a.b 2, before 1\n"
    )
