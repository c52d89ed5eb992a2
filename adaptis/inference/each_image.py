"""The images of a command, one after the other or by several processes: one that fails doesn't stop
the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from adaptis.errors import AdaptISError, last_line
from adaptis.inference.iterations import shown_beside
from adaptis.inference.predictor import OnStep
from adaptis.progress import progress
from adaptis.workers import LOST, each

# Of one image: what is wrong with it, its file can't be read, it needs more memory than there is
# (the errors of MXNet and ONNX Runtime are RuntimeErrors).
IMAGE_ERRORS = (AdaptISError, OSError, MemoryError, RuntimeError)


class Outcome(NamedTuple):
    """What came of an image; of one whose results were there before, nothing."""

    result: Any = None
    failure: str | None = None  # with the path


def failure_of(path: Path, error: Exception) -> str:
    """What an Outcome says of an image that can't be segmented: a line with the image's path, or
    that of another of its files where the error names it.

    Parameters:
        path: of the image.
        error: one of IMAGE_ERRORS.
    """
    said = last_line(error)
    named = getattr(error, "path", path)  # a DataError's can be a label's
    return said if said.startswith(str(named)) else f"{path}: {said}"


def segment_each(
    work: Callable[[int, OnStep], Outcome],
    makers: Sequence[Callable[[], Callable[[int], Outcome]]],
    indices: Sequence[int],
    path_of: Callable[[int], Path],
) -> tuple[list[Any], list[str]]:
    """Segment images and show the progress, with the iterations where it is done here.

    Parameters:
        work: index of an image and what is called at each iteration -> outcome.
        makers: of the same in other processes, see ``adaptis.workers.each``.
        path_of: index -> the image's path, to name one whose process was killed.

    Returns the results of the images that were segmented now, and the failures in the order of the
    images. Raises WorkerError and what the work raises.
    """

    def here(index: int) -> Outcome:
        return work(index, shown_beside(shown))

    results, failures = [], {}
    with closing(each(here, makers, indices)) as outcomes:
        shown = progress(outcomes, desc="segmenting", total=len(indices), unit="image")
        for index, outcome in shown:
            outcome = outcome or Outcome(failure=f"{path_of(index)}: {LOST}")
            if outcome.failure:
                failures[index] = outcome.failure
            elif outcome.result is not None:
                results.append(outcome.result)
    return results, [failures[index] for index in sorted(failures)]
