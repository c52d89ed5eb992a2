"""Reading the page's requests, and the answer to those that fail."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from adaptis.demo.workspace import DemoError
from adaptis.errors import AdaptISError, last_line
from adaptis.json_types import FormatError, parse_json
from adaptis.values import FRACTION

MAX_QUESTION = 2**16  # bytes of a request's JSON


def in_words(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler of exceptions: the answer is JSON with what is wrong as "error".

    Parameters:
        status: of the answer, such as 400.
    """

    async def answer(request: Request, error: Exception) -> Response:
        text = str(error) if isinstance(error, AdaptISError) else last_line(error)
        return JSONResponse({"error": text}, status)

    return answer


async def body_of(request: Request, limit: int, too_long: str) -> bytes:
    """The bytes of a request, read no further than the limit. Raises DemoError beyond it, and where
    the client breaks off.

    Parameters:
        limit: the most bytes.
        too_long: what is said of more.
    """
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise DemoError(too_long)
    except ClientDisconnect as error:
        raise DemoError("the request was broken off") from error
    return bytes(content)


async def question_of(request: Request) -> dict:
    """The JSON object of a request. Raises DemoError for anything else."""
    too_long = f"the request has more than {MAX_QUESTION} bytes; a few numbers are needed"
    body = await body_of(request, MAX_QUESTION, too_long)
    try:
        asked = parse_json(body)
    except FormatError as error:
        raise DemoError(f"the request: {error}") from error
    if not isinstance(asked, dict):
        raise DemoError("the request must be a JSON object")
    return asked


def number_in(asked: Mapping[str, Any], key: str) -> float:
    """A number of a request's JSON or address. Raises DemoError for what is missing or no finite
    number."""
    try:
        value = float(asked[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise DemoError(f"{key} is {reprlib.repr(asked.get(key))}; a number is needed")
    return value


def count_in(path: Mapping[str, str], key: str) -> int:
    """A whole number of a request's path. Raises DemoError for anything else, and more digits than
    any has."""
    text = path[key]
    if not re.fullmatch("[0-9]{1,9}", text):
        raise DemoError(f"{key} is {reprlib.repr(text)}; a number of 1 to 9 digits is needed")
    return int(text)


def threshold_in(asked: Mapping[str, Any]) -> float:
    """``mask_threshold`` of a request's JSON. Raises DemoError where it can't be one."""
    value = number_in(asked, "mask_threshold")
    if not FRACTION.include(value):
        raise DemoError(f"mask_threshold is {value:g}; it must be {FRACTION.words}")
    return value
