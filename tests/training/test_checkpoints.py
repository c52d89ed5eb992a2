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


def test_changes_on_purpose_are_said(capsys):
    check({"a": {"b": 2, "c": 3}}, {"a": {"b": 1, "c": 3}}, changed=["a.b", "a.c"])
    assert (
        capsys.readouterr().err == "run/checkpoint-0000001.params: goes on with a.b 2, before 1\n"
    )
