"""COCO's run lengths: the lengths of runs of 0 and 1 in turn, down the columns of a mask."""

from __future__ import annotations

from adaptis.json_types import Entry, FormatError

CHAR_BITS, CONTINUES, SIGN = 5, 0x20, 0x10  # of a character of the string, from pycocotools' C code
CHAR_ZERO = 48  # "0": characters are numbers of six bits from here on


def decode_run_lengths(encoded: Entry, pixels: int) -> list[int]:
    """Run lengths from numbers or from COCO's compressed string.

    pycocotools decodes a string that ends early into pixels of memory that nobody wrote, hence the
    sum is checked.

    Parameters:
        encoded: its "counts" are the run lengths.
        pixels: of the mask.

    Raises FormatError where they aren't run lengths of that many pixels.
    """
    if isinstance(encoded.content.get("counts"), str):
        runs = _decompress(encoded.text("counts"))
    else:
        runs = encoded.values("counts")
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != pixels:
        raise FormatError(f"{encoded.place}.counts are no run lengths of {pixels} pixels")
    return runs


def _decompress(string: str) -> list[int]:
    """Five bits a character, the lowest first, sign-extended; from the fourth number on the
    difference to the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in string:
        bits = ord(character) - CHAR_ZERO
        if not 0 <= bits < 2 * CONTINUES:
            return []
        value |= (bits & (CONTINUES - 1)) << shift
        shift += CHAR_BITS
        if bits & CONTINUES:
            continue
        if bits & SIGN:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return [] if shift else runs  # shift: it ends in the middle of a number
