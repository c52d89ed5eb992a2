"""The demo's endpoints: what they answer, what they refuse, and that their objects are the
predictor's."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import socket

import mxnet as mx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from starlette.testclient import TestClient

from adaptis.demo import server
from adaptis.demo.hosts import HostError, address_of, is_local
from adaptis.demo.images import find_images
from adaptis.demo.server import make_app
from adaptis.demo.workspace import Workspace
from adaptis.image_files import ImageFileError
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.segmenting.objects import segment_objects

MAX_PIXELS = 2000
THRESHOLD = 0.16  # what finds several objects in noise: an untrained network's confidences are low
DESCRIPTION = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "classes": [
        {"name": "background", "category_id": 1, "isthing": False},
        {"name": "object", "category_id": 2, "isthing": True},
    ],
    "inference": {
        "points": "random",
        "proposal_blur": 6,
        "greedy": {"mask_threshold": THRESHOLD, "min_area": 1, "max_radius": 9},
    },
}
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def pixels_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array(Image.open(io.BytesIO(response.content)))


@pytest.fixture(scope="module")
def network(toy):
    return toy(width=2, seed=4)


@pytest.fixture
def predictor(network):
    return AdaptISPredictor(MXNetBackend(network, mx.cpu()), DESCRIPTION)


@pytest.fixture
def client(predictor, tmp_path):
    (tmp_path / "given.png").write_bytes(png(IMAGE))
    app = make_app(Workspace(predictor), [tmp_path / "given.png"], MAX_PIXELS)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def opened(client):
    """The path of an image that is open."""
    answer = client.post("/upload?name=noise.png", content=png(IMAGE)).json()
    assert (answer["name"], answer["height"], answer["width"]) == ("noise.png", 40, 48)
    return f"/image/{answer['number']}"


def keep(client, opened, x, y, mask_threshold=THRESHOLD):
    asked = {"x": x, "y": y, "mask_threshold": mask_threshold}
    return client.post(f"{opened}/keep", json=asked)


def refused(response, status=400) -> str:
    assert response.status_code == status
    return response.json()["error"]


def test_the_page_loads_from_this_server_alone(client):
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("demo.js", "demo.css", "icon.svg"):
        assert f"/page/{path}" in page.text
        content = client.get(f"/page/{path}")
        assert content.status_code == 200
        assert "://" not in content.text.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in page.text


def test_what_is_offered(client):
    about = client.get("/about").json()
    assert about["images"] == ["given.png"]
    assert about["mask_threshold"] == THRESHOLD
    assert about["classes"] == {"2": "object"}
    assert np.shape(about["heat"]) == (256, 3)
    answer = client.post("/open/0").json()
    np.testing.assert_array_equal(
        pixels_of(client.get(f"/image/{answer['number']}/picture.png")), IMAGE
    )
    assert refused(client.post("/open/1")) == "image 1: 1 were given"


def test_a_confidence_map_is_the_predictors(client, opened, predictor):
    answer = client.get(f"{opened}/confidence?x=30&y=7").json()
    levels = np.frombuffer(base64.b64decode(answer["confidence"]), np.uint8).reshape(40, 48)
    predictor.set_image(IMAGE)
    (expected,) = predictor.predict([[30, 7]]).confidences
    np.testing.assert_allclose(levels / 255, expected, atol=0.5 / 255 + 1e-6)
    assert answer["milliseconds"] > 0


def test_the_backbone_runs_once_an_image(client, network):
    calls = []
    hook = network.backbone.register_forward_hook(lambda *_: calls.append(1))
    opened = f"/image/{client.post('/open/0').json()['number']}"
    for x in (3, 30):
        client.get(f"{opened}/confidence?x={x}&y=7")
    assert keep(client, opened, 30, 7).status_code == 200
    client.get(f"{opened}/proposals")
    client.post(f"{opened}/segment", json={"mask_threshold": THRESHOLD})
    hook.detach()
    assert len(calls) == 1


def test_a_click_keeps_the_predictors_mask(client, opened, predictor):
    answer = keep(client, opened, 30, 7, 0.155).json()
    labels = pixels_of(client.get(f"{opened}/labels.png"))
    predictor.set_image(IMAGE)
    prediction = predictor.predict([[30, 7]], mask_threshold=0.155)
    assert 0 < prediction.masks[0].sum() < labels.size
    np.testing.assert_array_equal(labels, prediction.masks[0])
    (found,) = answer["objects"]
    assert answer["id"] == found["id"] == 1
    assert found["area"] == prediction.masks[0].sum()
    assert found["score"] == pytest.approx(float(prediction.scores[0]), rel=1e-5)
    assert found["category_id"] == 2


def test_an_object_is_kept_once(client, opened):
    assert keep(client, opened, 30, 7).status_code == 200
    assert "100% of the object at (30, 7) are in kept ones" in refused(keep(client, opened, 30, 7))


def test_a_click_on_nothing(client, opened):
    said = refused(keep(client, opened, 30, 7, 0.99))
    assert said.startswith("no object at (30, 7): the confidence is 0.99 at most")


def test_a_network_that_knows_no_objects(client, opened, predictor):
    predictor.classes = [{**info, "isthing": False} for info in predictor.classes]
    assert "classes of stuff alone" in refused(keep(client, opened, 30, 7))
    assert not pixels_of(client.get(f"{opened}/labels.png")).any()


def test_shift_click_removes(client, opened):
    keep(client, opened, 30, 7)
    rows, cols = np.nonzero(pixels_of(client.get(f"{opened}/labels.png")))
    at = {"x": int(cols[0]), "y": int(rows[0])}
    assert client.post(f"{opened}/remove", json=at).json() == {"id": 1, "objects": []}
    assert not pixels_of(client.get(f"{opened}/labels.png")).any()
    assert "no object is kept at" in refused(client.post(f"{opened}/remove", json=at))


def test_segmenting_finds_what_the_predictor_does(client, opened, predictor):
    answer = client.post(f"{opened}/segment", json={"mask_threshold": THRESHOLD}).json()
    labels = pixels_of(client.get(f"{opened}/labels.png"))
    results = client.get(f"{opened}/objects.json").json()
    overlay = pixels_of(client.get(f"{opened}/overlay.png"))
    expected = segment_objects(predictor, IMAGE)
    assert len(expected.objects) > 1
    np.testing.assert_array_equal(labels, expected.label_map)
    assert labels.dtype == np.uint16 or labels.dtype == np.int32
    assert [r["id"] for r in results] == [o["id"] for o in answer["objects"]]
    for record in results:
        assert record["image_id"] == "noise"
        np.testing.assert_array_equal(
            coco_mask.decode(record["segmentation"]), labels == record["id"]
        )
    np.testing.assert_array_equal(overlay[labels == 0], IMAGE[labels == 0])
    assert (overlay != IMAGE)[labels > 0].any()


def test_iterations_are_pictures(client, opened):
    answer = client.post(f"{opened}/segment", json={"mask_threshold": THRESHOLD}).json()
    frames = answer["frames"]
    assert frames[0]["number"] == 1
    assert frames[-1]["number"] <= answer["iterations"]
    pictures = [pixels_of(client.get(f"{opened}/iterations/{i}.png")) for i in range(len(frames))]
    assert {picture.shape for picture in pictures} == {IMAGE.shape}
    assert (pictures[0] != pictures[-1]).any()
    assert "are kept" in refused(client.get(f"{opened}/iterations/{len(frames)}.png"))


def test_proposals_are_the_predictors(client, opened, predictor):
    answer = client.get(f"{opened}/proposals").json()
    levels = np.frombuffer(base64.b64decode(answer["scores"]), np.uint8).reshape(40, 48)
    predictor.set_image(IMAGE)
    scores, peaks_xy = predictor.proposals()
    np.testing.assert_allclose(levels / 255, scores, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(answer["peaks_xy"], peaks_xy)
    assert len(peaks_xy)


def test_removing_all(client, opened):
    keep(client, opened, 30, 7)
    assert client.post(f"{opened}/clear", json={}).json()["objects"] == []
    assert client.get(f"{opened}/objects.json").json() == []


def test_16_bits_are_not_read_as_black(client, predictor):
    predictor.intensity = "percentile"
    faint = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48)  # of 65535
    number = client.post("/upload?name=faint.png", content=png(faint)).json()["number"]
    picture = pixels_of(client.get(f"/image/{number}/picture.png"))
    assert (picture.min(), picture.max()) == (0, 255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", r"broken.png: can't be read: cannot identify image file 'broken.png'"),
        (png(IMAGE)[:900], "broken.png: can't be read: "),
        (b"", "broken.png: can't be read: "),
    ],
)
def test_a_broken_upload_leaves_the_image_as_it_is(client, opened, content, message):
    keep(client, opened, 30, 7)
    assert refused(client.post("/upload?name=broken.png", content=content)).startswith(message)
    assert len(client.get(f"{opened}/objects.json").json()) == 1


def test_uploads_are_bounded(client, monkeypatch):
    large = png(np.zeros((50, 41), np.uint8))
    said = refused(client.post("/upload?name=large.png", content=large))
    assert said.startswith("large.png: is 50 x 41 (height x width), at most 2000 pixels")
    monkeypatch.setattr(server, "MAX_BYTES", 100)
    said = refused(client.post("/upload?name=long.png", content=bytes(101)))
    assert said.startswith("long.png: has more than 100 bytes")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "the request must be a JSON object"),
        (b"{", "the request: it isn't JSON"),
        (b"[" * 5000, "the request: it is nested too deeply"),
        (b'{"x": 1, "y": 2}', "mask_threshold is None"),
        (b'{"x": 1, "y": 2, "mask_threshold": 1}', "mask_threshold is 1; it must be above 0"),
        (b'{"x": NaN, "y": 2, "mask_threshold": 0.5}', "x is nan; a number is needed"),
        (b'{"x": 1%s}' % bytes([48] * 400), "x is 1000000"),
        (b'{"x": "%s"}' % bytes([48] * 2**16), "the request has more than 65536 bytes; a few"),
        (b'{"x": 48, "y": 2, "mask_threshold": 0.5}', r"point (x, y) = (48.0, 2.0) lies outside"),
    ],
)
def test_questions_that_make_no_sense(client, opened, body, message):
    assert refused(client.post(f"{opened}/keep", content=body)).startswith(message)


def test_an_image_that_another_replaced(client, opened):
    assert client.post("/open/0").status_code == 200
    assert "isn't open any more" in refused(client.get(f"{opened}/labels.png"))


def test_what_the_network_can_not_compute_is_said(client, opened, predictor, monkeypatch):
    def fail(*_, **__):
        raise mx.MXNetError("Traceback (most recent call last):\n  many lines\nout of memory")

    monkeypatch.setattr(predictor, "predict", fail)
    assert refused(client.get(f"{opened}/confidence?x=1&y=1"), 500) == "out of memory"


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", f"/open/{'9' * 5000}", "index is '99999"),
        ("GET", f"/image/1/iterations/{'9' * 5000}.png", "index is '99999"),
        ("GET", f"/image/{'9' * 5000}/labels.png", "number is '99999"),
        ("GET", "/page/%00", "the address has a null character"),
        ("POST", "/upload?name=a.%00png", "'a.\\x00png': the name has a null character"),
    ],
)
def test_addresses_that_make_no_sense(client, method, path, message):
    said = refused(client.request(method, path, content=png(IMAGE) if "upload" in path else None))
    assert said.startswith(message)
    assert len(said) < 200


def test_an_upload_that_is_broken_off(client):
    messages = iter(
        [
            {"type": "http.request", "body": b"half", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/upload",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert b"broken off" in sent[1]["body"]


def test_names_that_are_not_utf_8(predictor, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(png(IMAGE))
    app = make_app(Workspace(predictor), [path], MAX_PIXELS)
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert client.get("/about").json()["images"] == ["caf\ufffd.png"]
    assert client.post("/open/0").json()["name"] == "caf\ufffd.png"
    path.write_bytes(b"no image")
    said = refused(client.post("/open/0"))
    assert said.startswith(
        "caf\ufffd.png: can't be read: cannot identify image file 'caf\ufffd.png'"
    )


LOCAL = ["127.0.0.1", "127.0.0.2", "::1", "localhost", "::ffff:127.0.0.1"]


def client_at(predictor, host: str) -> TestClient:
    return TestClient(make_app(Workspace(predictor), [], MAX_PIXELS, host), "http://127.0.0.1")


@pytest.mark.parametrize("host", LOCAL)
def test_pages_of_other_names_are_not_answered(predictor, host):
    client = client_at(predictor, host)
    for name in ("elsewhere.example", "elsewhere.example:8000", "192.0.2.1", "[::1", ""):
        assert "open it as localhost" in refused(client.get("/about", headers={"host": name}))
    for name in ("127.0.0.1", "127.0.0.2:80", "LocalHost:8911", "[::1]", "[::1]:8911"):
        assert client.get("/about", headers={"host": name}).status_code == 200


def test_who_lets_others_in_is_reached_by_any_name(predictor):
    client = client_at(predictor, "0.0.0.0")
    assert client.get("/about", headers={"host": "elsewhere.example"}).status_code == 200


@pytest.mark.parametrize(
    ("listening", "host", "headers"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {"origin": "http://evil.example"}),
        ("127.0.0.1", "127.0.0.1:8000", {"origin": "null"}),
        ("127.0.0.1", "127.0.0.1:8000", {"sec-fetch-site": "cross-site"}),
        ("0.0.0.0", "lab.example:8000", {"origin": "http://evil.example"}),
        ("0.0.0.0", "lab.example:8000", {"origin": "http://localhost"}),
    ],
)
def test_posts_of_other_sites_are_not_obeyed(predictor, listening, host, headers):
    client = client_at(predictor, listening)
    said = refused(
        client.post("/upload", content=png(IMAGE), headers={"host": host, **headers}), 403
    )
    assert said.startswith("pages of other sites can't change anything here")


@pytest.mark.parametrize(
    ("listening", "host", "headers"),
    [
        ("::1", "[::1]:8000", {"origin": "http://[::1]:8000", "sec-fetch-site": "same-origin"}),
        ("127.0.0.1", "127.0.0.1:8000", {"origin": "http://127.0.0.1:8000"}),
        ("0.0.0.0", "lab.example:8000", {"origin": "http://lab.example:8000"}),
    ],
)
def test_posts_of_the_page_are_obeyed(predictor, listening, host, headers):
    client = client_at(predictor, listening)
    answer = client.post("/upload", content=png(IMAGE), headers={"host": host, **headers})
    assert answer.status_code == 200


def test_local_hosts():
    assert all(map(is_local, LOCAL))
    assert not any(map(is_local, ["0.0.0.0", "::", "192.0.2.1", "localhost.example", "[::1]", ""]))


def test_the_address_that_is_printed():
    assert address_of("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert address_of("::1", 8000) == "http://[::1]:8000"


def test_a_port_in_use_and_an_impossible_host_are_said(client, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"^--port {port}: in use; choose another$"):
            server.serve(client.app, "127.0.0.1", port)
        for host in ("192.0.2.1", "no.such.host.invalid", "a" * 70):
            with pytest.raises(HostError, match=f"^--host {host}: .+; choose another$"):
                server.serve(client.app, host, port)
    assert not capsys.readouterr().out


def test_what_listens_is_given_to_the_server(client, capsys, monkeypatch):
    given = []

    def run(self, sockets):
        given.extend(one.getsockname()[0] for one in sockets)
        for one in sockets:
            one.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(server.uvicorn.Server, "run", run)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server.serve(client.app, "localhost", port)
    assert "127.0.0.1" in given
    assert set(given) <= {"127.0.0.1", "::1"}
    assert capsys.readouterr().out.startswith(f"open http://localhost:{port} in a browser")


def test_given_files_and_folders(tmp_path):
    for name in ("b.png", "a.TIF", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert find_images([tmp_path / "notes.txt", tmp_path]) == [
        tmp_path / name for name in ("notes.txt", "a.TIF", "b.png")
    ]
    for name, message in (("empty", "holds no images"), ("missing", "no such file")):
        with pytest.raises(ImageFileError, match=message):
            find_images([tmp_path / name])
