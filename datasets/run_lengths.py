"""COCO's run lengths: the lengths of runs of 0 and 1 in turn, down the columns of a mask."""

from __future__ import annotations

CHAR_BITS, CONTINUES, SIGN = 5, 0x20, 0x10  # of a character of the string, from pycocotools' C code
CHAR_ZERO = 48  # "0": characters are numbers of six bits from here on


def decode_run_lengths(counts: list[int] | str | bytes, pixels: int) -> list[int]:
    """Run lengths from numbers or from COCO's compressed string.

    pycocotools decodes a string that ends early into pixels of memory that nobody wrote, hence the
    sum is checked.

    Args:
        counts: as in an annotation's "counts".
        pixels: of the mask.

    Raises:
        ValueError: they aren't run lengths of that many pixels.
    """
    if isinstance(counts, str):
        counts = counts.encode("ascii")
    runs = _decompress(counts) if isinstance(counts, bytes) else [int(run) for run in counts]
    if sum(runs) != pixels or min(runs, default=0) < 0:
        raise ValueError(f"run lengths of {sum(runs)} pixels for a mask of {pixels}")
    return runs


def _decompress(string: bytes) -> list[int]:
    """Five bits a character, the lowest first, sign-extended; from the third on the difference to
    the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for character in string:
        bits = character - CHAR_ZERO
        if not 0 <= bits < 2 * CONTINUES:
            raise ValueError(f"run lengths with the character {chr(character)!r}")
        value |= (bits & (CONTINUES - 1)) << shift
        shift += CHAR_BITS
        if bits & CONTINUES:
            continue
        if bits & SIGN:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that end in the middle of a number")
    return runs
