"""What two descriptions differ in, in words."""

from adaptis.differences import differences


def test_entries_within_entries():
    ours = {"network": {"width": 4, "kind": "toy"}, "classes": [{"name": "car"}], "sides": (1, 2)}
    theirs = {"network": {"width": 8, "kind": "toy"}, "classes": [{"name": "bus"}], "sides": [1, 2]}
    said = "network.width: 8, now 4; classes.0.name: bus, now car"
    assert differences(ours, theirs) == said
    assert differences(ours, ours) == ""


def test_what_only_one_has():
    assert differences({"a": 1}, {"b": 2}) == "a: None, now 1; b: 2, now None"


def test_what_may_differ_and_why_not():
    ours, theirs = {"state": {"n": 1}, "a": {"b": 1, "c": 1}}, {"state": {"n": 2}, "a": {"b": 2}}
    said = differences(ours, theirs, leave_out=("state", "a.c"), why={"a.b": "it matters"})
    assert said == "a.b: 2, now 1 (it matters)"


def test_many():
    ours = {str(i): i for i in range(9)}
    said = differences(ours, {})
    assert said.count("now") == 5
    assert said.endswith("; ...")
