"""Docstrings say in one way what is given, returned and raised."""

from __future__ import annotations

import re

from tests.paths import ROOT

ROOMS = ("adaptis", "benchmarks", "datasets", "docs", "models", "tests")
BLOCK = re.compile(r"^ *(?:Args|Arguments|Returns|Yields|Raises):$", re.MULTILINE)


def test_parameters_are_a_block_and_the_rest_is_sentences():
    """``Parameters:``, "Returns ..." and "Raises X where ..."."""
    paths = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    assert not [path for path in paths if BLOCK.search(path.read_text())]
