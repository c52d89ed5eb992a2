"""The page in a real browser: open, hover, click, segment, export, a broken upload."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adaptis.inference.predictor import AdaptISPredictor
from adaptis.segmenting.objects import segment_objects
from datasets.toy_generator import generate
from docs.demo import CHROMIUM, WINDOW, serving
from tests.paths import ROOT

WEIGHTS = ROOT / "weights" / "toy.params"
PATIENCE = 60_000  # milliseconds for what the page shows in the end


@pytest.fixture(scope="module")
def image_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    generate(folder, train=0, test=1, size=96, objects=(6, 6), workers=1)
    (path,) = folder.rglob("*_rgb.png")
    return path


@pytest.fixture(scope="module")
def address(image_path):
    """Of a server with the shipped weights and the image."""
    with serving(WEIGHTS, image_path) as address:
        yield address


@pytest.fixture
def page(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW, accept_downloads=True)
        page.set_default_timeout(PATIENCE)
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        yield page
        assert requested
        assert all(url.startswith((f"{address}/", "blob:")) for url in requested)
        browser.close()


def test_from_an_image_to_its_label_map(page, image_path, tmp_path):
    image = np.array(Image.open(image_path).convert("RGB"))
    height, width = image.shape[:2]
    predictor = AdaptISPredictor.load(WEIGHTS)
    expected = segment_objects(predictor, image)
    x, y = (round(v) for v in expected.objects[0]["centroid"])
    mask = predictor.predict([[x, y]]).masks[0]
    assert mask[y, x]

    def downloaded(name):
        with page.expect_download() as download:
            page.click(name)
        download.value.save_as(tmp_path / "labels.png")
        return np.array(Image.open(tmp_path / "labels.png"))

    def at(x, y):
        box = page.locator("#layer").bounding_box()
        return {"x": (x + 0.5) * box["width"] / width, "y": (y + 0.5) * box["height"] / height}

    def wait_for_objects(count):
        page.wait_for_selector(f"#stage[data-objects='{count}']")

    # open
    page.set_input_files("#file", image_path)
    wait_for_objects(0)
    assert page.inner_text("#backbone-time").endswith("ms")

    # hover: the layer shows the mask
    page.hover("#layer", position=at(x, y))
    page.wait_for_selector("#head-time:has-text('ms')")
    shown = page.evaluate(
        "() => Array.from(document.getElementById('layer').getContext('2d')"
        f".getImageData(0, 0, {width}, {height}).data).filter((_, i) => i % 4 === 3)"
    )
    shown = np.reshape(shown, (height, width)) > 0
    assert (shown != mask).mean() < 0.01  # confidences are rounded to 255ths

    # click, shift-click
    page.click("#layer", position=at(x, y))
    wait_for_objects(1)
    np.testing.assert_array_equal(downloaded("#labels"), mask)
    page.click("#layer", position=at(x, y), modifiers=["Shift"])
    wait_for_objects(0)

    # segment, export
    page.click("#segment")
    wait_for_objects(len(expected.objects))
    assert page.inner_text("#iteration-value") == "result"
    np.testing.assert_array_equal(downloaded("#labels"), expected.label_map)

    # a broken upload
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"}
    page.set_input_files("#file", [broken])
    page.wait_for_selector("#error:visible")
    assert page.inner_text("#error").startswith("broken.png: can't be read")
    np.testing.assert_array_equal(downloaded("#labels"), expected.label_map)
