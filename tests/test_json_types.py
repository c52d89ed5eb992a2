"""Foreign JSON: what has the type asked for is given, anything else is told with its place."""

from __future__ import annotations

import json

import pytest

from adaptis.json_types import Entry, FormatError, parse_json

NAN, INFINITY = float("nan"), float("inf")
GOOD = {  # method and its arguments -> values it gives
    ("whole",): [0, 5, 2**31 - 1],
    ("number", 0): [1, 0.5],
    ("truth",): [True, False, 0, 1],
    ("text",): ["a"],
    ("identity",): [-1, 10**30, "a"],
    ("choice", (1, 2)): [1, 2],
    ("values",): [[], [1, "a"]],
    ("numbers", 2): [[1, 0.5]],
}
BAD = {
    ("whole",): [-1, 2**31, 1.0, 1.5, "5", True, None, NAN, [], {}],
    ("number", 0): [0, -1, "1", True, NAN, INFINITY, 10**400, None],
    ("truth",): ["0", "false", 2, 0.0, 1.0, None, []],
    ("text",): ["", 1, None, ["a"]],
    ("identity",): ["", 1.0, True, None, []],
    ("choice", (1, 2)): [True, 3, "1", 1.0],
    ("values",): [{}, "ab", None],
    ("numbers", 2): [[1], [1, 2, 3], [1, NAN], [1, "2"], [1, True], "12"],
    ("color",): [[1, 2], [1, 2, 256], [-1, 2, 3], [1.0, 2, 3], [True, 2, 3], "123", {"R": 1}],
    ("entry",): [[], 1, "a"],
    ("entries",): [{}, [1], None],
}


@pytest.mark.parametrize(("call", "value"), [(c, v) for c, values in GOOD.items() for v in values])
def test_what_has_the_type_is_given(call, value):
    method, *arguments = call
    assert getattr(Entry({"key": value}), method)("key", *arguments) == value


@pytest.mark.parametrize(("call", "value"), [(c, v) for c, values in BAD.items() for v in values])
def test_what_has_another_is_told(call, value):
    method, *arguments = call
    with pytest.raises(FormatError, match=r"part\[2\]\.key(\[0\])? is .*, .*(expected|not an obj)"):
        getattr(Entry({"key": value}, "part[2]"), method)("key", *arguments)
    with pytest.raises(FormatError, match=r"part\[2\]\.key is missing, .* was expected"):
        getattr(Entry({"other": value}, "part[2]"), method)("key", *arguments)


def test_places():
    whole = Entry({"list": [{}, {"inner": {"value": "x"}}]})
    with pytest.raises(FormatError, match=r'^list\[1\]\.inner\.value is "x", a whole number'):
        whole.entries("list")[1].entry("inner").whole("value")
    with pytest.raises(FormatError, match="list is unknown; a, b are known"):
        whole.only("a", "b")


def test_null_is_none_where_there_is_a_default():
    entry = Entry({"key": None})
    assert entry.truth("key", default=False) is False
    assert entry.values("key", default=[]) == []
    with pytest.raises(FormatError, match="key is null, a list was expected"):
        entry.values("key")


def test_colors_and_defaults():
    assert Entry({"key": [0, 255, 3]}).color("key") == (0, 255, 3)
    assert Entry({}).truth("key", default=False) is False


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "isn't JSON: .*line 1"),
        (b"\xff", "isn't JSON: .*utf-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "b": 2, "a": 3}', 'has "a" twice'),
        ("", "isn't JSON"),
    ],
    ids=range(6),
)
def test_what_is_no_json(text, problem):
    with pytest.raises(FormatError, match=problem):
        parse_json(text)


def test_a_byte_order_mark_is_no_part_of_it():
    for text in ("\ufeff[1]", b"\xef\xbb\xbf[1]", "[1]"):
        assert parse_json(text) == [1]


def test_long_values_are_cut_in_messages():
    with pytest.raises(FormatError) as raised:
        Entry({"key": "x" * 10_000}).whole("key")
    assert len(str(raised.value)) < 150
    assert json.dumps("x" * 20)[1:-1] in str(raised.value)
