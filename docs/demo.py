"""Draw docs/demo.png, the page of ``python -m adaptis.demo`` with everything segmented:

python -m docs.demo data/nuclei/test/images/NAME.png

It needs Chromium, and playwright of requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from adaptis.arguments import HelpFormatter

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WINDOW = {"width": 1200, "height": 760}  # px
START_SECONDS = 120  # of the server, on a busy machine
PATIENCE = 600_000  # ms, for a dense image on a busy machine


@contextlib.contextmanager
def serving(weights: Path | str, image: Path | str) -> Iterator[str]:
    """The address of a page that offers the image, until the context is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "adaptis.demo", "--weights", weights, "--port", port, image]
    server = subprocess.Popen([str(part) for part in command], cwd=HERE.parent)
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        if server.poll() is not None:
            raise RuntimeError("the server ended")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def draw(image: Path) -> None:
    from playwright.sync_api import sync_playwright

    with serving("weights/nuclei.params", image) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.set_input_files("#file", image)
        page.wait_for_selector("#stage[data-objects='0']")
        page.click("#segment")
        page.wait_for_selector("#iteration-value:text-is('result')")
        page.hover("#layer")
        page.wait_for_selector("#head-time:has-text('ms')")
        page.mouse.move(0, 0)  # the middle of the image is of no object, perhaps
        page.screenshot(path=HERE / "demo.png")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m docs.demo", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument("image", type=Path, help="the one that the page shows")
    draw(parser.parse_args().image.absolute())
