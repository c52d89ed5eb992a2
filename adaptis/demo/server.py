"""The demo's server: JSON and PNG over HTTP, and the page. No request leaves for another host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import uvicorn
from matplotlib import colormaps
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from adaptis.demo.hosts import Guard, address_of, listen
from adaptis.demo.images import read_image, read_upload, shown_name
from adaptis.demo.requests import (
    body_of,
    count_in,
    in_words,
    number_in,
    question_of,
    threshold_in,
)
from adaptis.demo.workspace import DemoError, Workspace
from adaptis.errors import AdaptISError
from adaptis.image_files import png_of
from adaptis.pictures.panels import HEAT_MAP
from adaptis.segmenting.outputs import coco_results_json, label_map_png, overlay_png

PAGE = Path(__file__).parent / "page"
MAX_BYTES = 2**26  # of an uploaded file, 64 MB: 4 megapixels of 16-bit colours are 25
QUICK = 1  # level of compression of what stays on this machine
ONLY_THIS_HOST = {  # what the page may load
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:",
    "Cache-Control": "no-cache",
}
T = TypeVar("T")


def make_app(
    workspace: Workspace, given: list[Path], max_pixels: int, host: str = "127.0.0.1"
) -> Starlette:
    """The application.

    Parameters:
        workspace: which nothing else uses.
        given: image files that the page offers to open.
        max_pixels: of the largest image that is opened.
        host: where it listens; at an address of this machine alone, it answers no page of another
            name (DNS rebinding).

    It obeys no POST of another site's page.
    """
    demo = _Demo(workspace, given, max_pixels)
    image = "/image/{number}"
    routes = [
        Route("/", lambda _: FileResponse(PAGE / "index.html", headers=ONLY_THIS_HOST)),
        Route("/about", demo.about),
        Route("/open/{index}", demo.open_given, methods=["POST"]),
        Route("/upload", demo.upload, methods=["POST"]),
        Route(f"{image}/picture.png", demo.picture),
        Route(f"{image}/confidence", demo.confidence),
        Route(f"{image}/proposals", demo.proposals),
        Route(f"{image}/keep", demo.keep, methods=["POST"]),
        Route(f"{image}/remove", demo.remove, methods=["POST"]),
        Route(f"{image}/clear", demo.clear, methods=["POST"]),
        Route(f"{image}/segment", demo.segment, methods=["POST"]),
        Route(f"{image}/iterations/{{index}}.png", demo.iteration),
        Route(f"{image}/labels.png", demo.labels),
        Route(f"{image}/objects.json", demo.objects),
        Route(f"{image}/overlay.png", demo.overlay),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, host=host)],
        exception_handlers={
            AdaptISError: in_words(400),
            MemoryError: in_words(500),
            RuntimeError: in_words(500),  # MXNet's and ONNX Runtime's errors are of this kind
            OSError: in_words(500),  # of a file that was given
        },
    )


def serve(app: Starlette, host: str, port: int) -> None:
    """Until Ctrl-C. Raises HostError where it can't listen."""
    sockets = listen(host, port)
    print(f"open {address_of(host, port)} in a browser; Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets)


class _Demo:
    """The endpoints. The predictor knows one image and one thread at a time, so all that uses the
    workspace waits in one queue."""

    def __init__(self, workspace: Workspace, given: list[Path], max_pixels: int):
        self.workspace, self.given, self.max_pixels = workspace, given, max_pixels
        self._queue = ThreadPoolExecutor(1)

    async def about(self, request: Request) -> Response:
        return JSONResponse(
            {
                "images": [shown_name(path) for path in self.given],
                "mask_threshold": self.workspace.predictor.settings.greedy.mask_threshold,
                "classes": {
                    info["category_id"]: info["name"]
                    for info in self.workspace.predictor.classes
                    if info["isthing"]
                },
                "heat": (255 * colormaps[HEAT_MAP](np.arange(256))[:, :3]).astype(int).tolist(),
                "max_bytes": MAX_BYTES,
                "max_pixels": self.max_pixels,
            }
        )

    async def open_given(self, request: Request) -> Response:
        index = count_in(request.path_params, "index")
        if index >= len(self.given):
            raise DemoError(f"image {index}: {len(self.given)} were given")
        path = self.given[index]
        name = shown_name(path)
        return await self._open(
            name, lambda: read_image(path, name, self.intensity, self.max_pixels)
        )

    async def upload(self, request: Request) -> Response:
        name = request.query_params.get("name") or "upload"
        too_long = f"{name}: has more than {MAX_BYTES} bytes; scale the image down or cut it"
        content = await body_of(request, MAX_BYTES, too_long)
        return await self._open(
            name, lambda: read_upload(content, name, self.intensity, self.max_pixels)
        )

    @property
    def intensity(self) -> str | list[float]:
        return self.workspace.predictor.intensity

    async def _open(self, name: str, read: Callable[[], np.ndarray]) -> Response:
        def work() -> dict:
            milliseconds = self.workspace.open(name, read())
            return {
                "number": self.workspace.number,
                "name": name,
                "height": self.workspace.image.shape[0],
                "width": self.workspace.image.shape[1],
                "milliseconds": milliseconds,
            }

        return JSONResponse(await self._alone(work))

    async def picture(self, request: Request) -> Response:
        return await self._file(request, lambda: png_of(self.workspace.image, QUICK))

    async def confidence(self, request: Request) -> Response:
        x, y = (number_in(request.query_params, key) for key in ("x", "y"))

        def work() -> dict:
            levels, milliseconds = self.workspace.confidence(x, y)
            return {"confidence": _base64(levels), "milliseconds": milliseconds}

        return JSONResponse(await self._of_image(request, work))

    async def proposals(self, request: Request) -> Response:
        def work() -> dict:
            levels, peaks_xy = self.workspace.proposals()
            return {"scores": _base64(levels), "peaks_xy": peaks_xy.tolist()}

        return JSONResponse(await self._of_image(request, work))

    async def keep(self, request: Request) -> Response:
        asked = await question_of(request)
        x, y, mask_threshold = number_in(asked, "x"), number_in(asked, "y"), threshold_in(asked)
        return await self._changed(request, lambda: self.workspace.keep(x, y, mask_threshold))

    async def remove(self, request: Request) -> Response:
        asked = await question_of(request)
        x, y = number_in(asked, "x"), number_in(asked, "y")
        return await self._changed(request, lambda: self.workspace.remove(x, y))

    async def clear(self, request: Request) -> Response:
        return await self._changed(request, self.workspace.clear)

    async def _changed(self, request: Request, change: Callable[[], object]) -> Response:
        def work() -> dict:
            changed = change()
            return {"id": changed, "objects": self.workspace.segmentation().objects}

        return JSONResponse(await self._of_image(request, work))

    async def segment(self, request: Request) -> Response:
        mask_threshold = threshold_in(await question_of(request))

        def work() -> dict:
            milliseconds = self.workspace.segment(mask_threshold)
            return {
                "objects": self.workspace.segmentation().objects,
                "iterations": self.workspace.iterations,
                "frames": [
                    {"number": frame.number, "accepted": frame.step.accepted}
                    for frame in self.workspace.frames
                ],
                "milliseconds": milliseconds,
            }

        return JSONResponse(await self._of_image(request, work))

    async def iteration(self, request: Request) -> Response:
        index = count_in(request.path_params, "index")

        def work() -> bytes:
            frames = self.workspace.frames
            if index >= len(frames):
                raise DemoError(f"iteration {index}: {len(frames)} are kept; segment the image")
            return png_of(self.workspace.iteration_picture(frames[index]), QUICK)

        return await self._file(request, work)

    async def labels(self, request: Request) -> Response:
        return await self._file(request, lambda: label_map_png(self.workspace.segmentation()))

    async def objects(self, request: Request) -> Response:
        def work() -> bytes:
            return coco_results_json(self.workspace.segmentation(), Path(self.workspace.name).stem)

        return await self._file(request, work, "application/json")

    async def overlay(self, request: Request) -> Response:
        return await self._file(
            request, lambda: overlay_png(self.workspace.segmentation(), self.workspace.image)
        )

    async def _file(
        self, request: Request, work: Callable[[], bytes], media_type: str = "image/png"
    ) -> Response:
        content = await self._of_image(request, work)
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-store"})

    async def _of_image(self, request: Request, work: Callable[[], T]) -> T:
        """Do it, if the image is the one that is open. Raises DemoError otherwise."""
        number = count_in(request.path_params, "number")

        def checked() -> T:
            if number != self.workspace.number or not self.workspace.name:
                raise DemoError("this image isn't open any more: open it again")
            return work()

        return await self._alone(checked)

    async def _alone(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._queue, work)


def _base64(levels: np.ndarray) -> str:
    return base64.b64encode(levels.tobytes()).decode("ascii")
