"""Requests of the web page. test_page_in_browser.py tests the page in a browser."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

import tfc_models
from tests.conftest import FEW_PIXELS, codec_with_decoders, cropped, golden_codec
from tests.server_process import config_of, running
from tests.test_images import png_16, rgb_profile
from tfc_models import evaluation, samples
from tfc_models.cli.main import main
from tfc_models.codec import container
from tfc_models.metrics import METRICS
from tfc_models.serving import bulk_work
from tfc_models.serving.client import Client, ServerError

MANY_RATES, ONE_RATE = "gained-stem4", "mbt2018-mean"
LIMIT = 400_000
CUT = container.MAGIC + b"\1" + container.pack_name("a") + bytes(4) + b"\x08\x08" + bytes(9)


@pytest.fixture(scope="module")
def models(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    exported(MANY_RATES, folder / "many", decoders=True)
    exported(ONE_RATE, folder / "one", max_pixels=FEW_PIXELS)
    return folder


@pytest.fixture(scope="module")
def server(models):
    flags = [config_of(models, "many", "one"), f"--max_request_bytes={LIMIT}"]
    with running(*flags, "--page_max_pixels=90000") as process:
        yield process


def file_of(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def pixels_of(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))


def test_static_files(server):
    with urllib.request.urlopen(f"{server.rest}/") as answer:
        page = answer.read().decode()
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    for name, kind in {"style.css": "text/css", "main.js": "text/javascript"}.items():
        assert f"page/{name}" in page
        with urllib.request.urlopen(f"{server.rest}/page/{name}") as answer:
            assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    for path in ("/page/none.js", "/page/..%2F__init__.py", "/page/__init__.py", "/elsewhere"):
        assert server.ask(path)[0] == 404
    status, answer = server.ask("/page/samples")
    assert status == 200 and answer["samples"] == sorted(samples.PHOTOS)
    with urllib.request.urlopen(f"{server.rest}/page/samples/coffee.png") as answer:
        assert answer.read() == samples.files()["coffee.png"].read_bytes()
    assert server.ask("/page/samples/none.png")[0] == 404


def test_models(server):
    assert server.ask("/page/models") == (
        200,
        {
            "models": [
                {"name": "many", "version": 1, "many_rates": True, "realism": True, "fast": True},
                {"name": "one", "version": 1, "many_rates": False, "realism": False, "fast": False},
            ],
            "max_bytes": LIMIT,
            "metrics": [column_of("psnr", "dB"), column_of("ms-ssim", "")],
        },
    )


def column_of(name: str, unit: str) -> dict[str, object]:
    record = METRICS[name]
    return {
        "name": name.replace("-", "_"),
        "title": record.title,
        "unit": unit,
        "digits": record.digits,
        "higher_is_better": record.higher_is_better,
        "min_side": record.min_side,
    }


def test_image_orientation_and_background(server):
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotated by 90 degrees.
    status, answer = server.ask("/page/picture", file_of(cropped(20, 50), "JPEG", exif=exif))
    assert (status, answer["height"], answer["width"], answer["notes"]) == (200, 50, 20, [])
    transparent = np.zeros((9, 7, 4), np.uint8)
    status, answer = server.ask("/page/picture", file_of(transparent))
    assert status == 200 and np.all(pixels_of(answer["picture"]) == 255)


def test_compress_and_decompress(server):
    codec, image = golden_codec(MANY_RATES), cropped(181, 203)
    body = file_of(image, "JPEG", quality=95)
    image = np.asarray(Image.open(io.BytesIO(body)))
    status, answer = server.ask("/page/compress?model=many&quality=80", body)
    assert status == 200
    data = base64.b64decode(answer["bitstream"])
    # The same libjpeg decodes in both, so the bits equal those of a direct call.
    assert data == codec.compress(image, 80)
    decoded = pixels_of(answer["picture"])
    assert np.abs(decoded.astype(int) - codec.decompress(data)).max() <= 1
    figures = evaluation.measure(image, evaluation.Coded(data, decoded, 0, 0))
    assert (answer["bytes"], answer["bpp"]) == (len(data), figures.bpp)
    assert answer["psnr"] == pytest.approx(figures.psnr, abs=1e-4)
    assert answer["ms_ssim"] == pytest.approx(figures.ms_ssim, abs=1e-5)
    # The model that compressed the file decodes it, whichever is selected.
    for chosen in ("many", "one", ""):
        status, back = server.ask(f"/page/decompress?model={chosen}", data)
        assert (status, back["model"], back["bytes"]) == (200, "many", len(data))
        assert (back["height"], back["width"]) == (181, 203)
        assert np.array_equal(pixels_of(back["picture"]), decoded)


def files_of_many_kinds() -> dict[str, tuple[str, bytes]]:
    """Returns suffix and bytes of image files that decoders interpret differently."""
    colour = cropped(50, 70)
    grey = np.ascontiguousarray(colour[..., 1])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG, turned by EXIF": (".jpg", file_of(colour, "JPEG", exif=exif)),
        "PNG with ICC profile": (".png", file_of(colour, icc_profile=rgb_profile("grb"))),
        "WebP": (".webp", file_of(colour, "WEBP")),
        "AVIF": (".avif", file_of(colour, "AVIF")),
        "TIFF": (".tif", file_of(colour, "TIFF")),
        "grey PNG": (".png", file_of(grey)),
        "grey JPEG": (".jpg", file_of(grey, "JPEG")),
        "16-bit grey PNG": (".png", png_16(grey.astype(int) * 256 + 77, 0)),
        "16-bit RGB PNG": (".png", png_16(colour.astype(int) * 256 + 200, 2)),
        "palette PNG": (".png", png_of_palette(colour)),
    }


def png_of_palette(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(16).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", files_of_many_kinds())
def test_every_interface_gives_the_same_bitstream(server, tmp_path, monkeypatch, kind):
    suffix, data = files_of_many_kinds()[kind]
    source, codec = tmp_path / f"picture{suffix}", golden_codec(ONE_RATE)
    source.write_bytes(data)
    monkeypatch.setattr(tfc_models, "load", lambda name, realism=None, fast=None: codec)
    assert main(["compress", str(source), "--quiet"]) == 0
    expected = source.with_suffix(".tfcm").read_bytes()

    status, answer = server.ask("/page/compress?model=one", data)
    assert status == 200 and base64.b64decode(answer["bitstream"]) == expected
    for address in (server.rest, server.grpc):
        with Client(address, "one") as client:
            assert client.compress(data) == expected
            png = client.decompress(expected)
    monkeypatch.setattr(bulk_work.Job, "load", lambda job: codec)
    job = bulk_work.Job("compress", str(tmp_path), str(tmp_path / "out"), "one", None, 10**6)
    job.do(str(source))
    assert (tmp_path / "out" / "picture.tfcm").read_bytes() == expected

    # Greyscale images stay greyscale in every interface.
    mode = "L" if "grey" in kind else "RGB"
    back, packed = tmp_path / "back.png", source.with_suffix(".tfcm")
    assert main(["decompress", str(packed), "-m", "default", "-o", str(back), "--quiet"]) == 0
    status, opened = server.ask("/page/decompress", expected)
    files = [png, base64.b64decode(answer["picture"]), base64.b64decode(opened["picture"])]
    for decoded in (*files, back.read_bytes()):
        with Image.open(io.BytesIO(decoded)) as image:
            assert image.mode == mode


def test_realism_affects_the_decoder_only(server):
    codec, body = codec_with_decoders(MANY_RATES), file_of(cropped(70, 90))
    answers = {}
    for amount in ("0", "0.4", "1"):
        query = f"/page/compress?model=many&quality=30&realism={amount}"
        status, answers[amount] = server.ask(query, body)
        assert status == 200
    data = base64.b64decode(answers["0"]["bitstream"])
    for amount, answer in answers.items():
        assert base64.b64decode(answer["bitstream"]) == data
        expected = codec.decompress(data, realism=float(amount)).astype(int)
        assert np.abs(pixels_of(answer["picture"]) - expected).max() <= 1
    assert answers["1"]["psnr"] < answers["0"]["psnr"]
    status, back = server.ask("/page/decompress?model=many&realism=0.4", data)
    assert status == 200 and back["picture"] == answers["0.4"]["picture"]
    for amount in ("1.5", "-0.1", "nan", "much"):
        assert server.ask(f"/page/decompress?model=many&realism={amount}", data)[0] == 400
    # A file of a model without a realism decoder is decoded without realism.
    other = golden_codec(ONE_RATE).compress(cropped(40, 50))
    status, back = server.ask("/page/decompress?model=many&realism=1", other)
    assert (status, back["model"], back["realism"]) == (200, "one", 0.0)
    status, answer = server.ask("/page/compress?model=one&realism=1", body)
    assert status == 400 and "one has no realism decoder" in answer["error"]


def test_fast_decoder_affects_the_image_only(server):
    codec, body = codec_with_decoders(MANY_RATES), file_of(cropped(70, 90))
    full = server.ask("/page/compress?model=many&quality=30", body)[1]
    status, fast = server.ask("/page/compress?model=many&quality=30&decoder=fast", body)
    assert status == 200 and fast["bitstream"] == full["bitstream"]
    data = base64.b64decode(fast["bitstream"])
    expected = codec.decompress(data, decoder="fast").astype(int)
    assert np.abs(expected - codec.decompress(data)).max() > 2
    assert np.abs(pixels_of(fast["picture"]) - expected).max() <= 1
    status, back = server.ask("/page/decompress?model=many&decoder=fast", data)
    assert (status, back["decoder"], back["picture"]) == (200, "fast", fast["picture"])
    # A file of a model without a fast decoder is decoded with its own.
    other = golden_codec(ONE_RATE).compress(cropped(40, 50))
    status, back = server.ask("/page/decompress?model=many&decoder=fast", other)
    assert (status, back["model"], back["decoder"]) == (200, "one", "full")
    for query, words in (
        ("model=one&decoder=fast", "one has no fast decoder: set decoder to full"),
        ("model=many&decoder=fast&realism=1", "the fast decoder has no realism"),
        ("model=many&decoder=half", "decoder"),
    ):
        status, answer = server.ask(f"/page/compress?{query}", body)
        assert status == 400 and words in answer["error"]


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_client_fast_decoder(server, transport):
    codec = codec_with_decoders(MANY_RATES)
    data = codec.compress(cropped(70, 90), 30)
    with Client(getattr(server, transport), "many") as client:
        png = client.decompress(data, decoder="fast")
        decoded = np.asarray(Image.open(io.BytesIO(png))).astype(int)
        assert np.abs(decoded - codec.decompress(data, decoder="fast")).max() <= 1
        with pytest.raises(ValueError, match="realism needs the decoder full"):
            client.decompress(data, 0.5, "fast")
        with pytest.raises(ValueError, match="the decoder is full or fast; got 'half'"):
            client.decompress(data, decoder="half")
    absent = pytest.raises(ServerError, match='"decompress_fast" not found')
    with Client(getattr(server, transport), "one") as client, absent:
        client.decompress(data, decoder="fast")


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_client_realism(server, transport):
    """It is in this file because its server has a realism decoder."""
    codec = codec_with_decoders(MANY_RATES)
    data = codec.compress(cropped(70, 90), 30)
    with Client(getattr(server, transport), "many") as client:

        def decoded(*realism: float) -> np.ndarray:
            png = client.decompress(data, *realism)
            return np.asarray(Image.open(io.BytesIO(png))).astype(int)

        faithful = decoded()
        for amount in (0, 0.5, 1):  # Integers are accepted.
            expected = codec.decompress(data, realism=amount)
            assert np.abs(decoded(amount) - expected).max() <= 1
        np.testing.assert_array_equal(decoded(0.0), faithful)
        assert np.abs(decoded(1.0) - faithful).max() > 2
        for wrong in (1.5, float("nan")):
            with pytest.raises(ServerError, match=rf"^realism is .* 0 to 1; got {wrong}\S*$"):
                client.decompress(data, wrong)
    absent = pytest.raises(ServerError, match='"decompress_at_realism" not found')
    with Client(getattr(server, transport), "one") as client, absent:
        client.decompress(data, 1.0)


def test_small_images_have_no_ms_ssim(server):
    status, answer = server.ask("/page/compress?model=one", file_of(cropped(1, 3)))
    assert status == 200 and answer["ms_ssim"] is None and answer["psnr"] > 5


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_peers_at_a_size(server, name):
    body, peer = file_of(cropped(181, 203)), evaluation.PEERS[name]
    status, answer = server.ask(f"/page/peer?name={name}&size=4000", body)
    data = base64.b64decode(answer["picture"])
    assert status == 200 and answer["type"] == f"image/{name}"
    assert (
        answer["bytes"]
        == len(data)
        == len(peer.encode(cropped(181, 203), peer.at_size(cropped(181, 203), 4000)))
    )
    assert 3000 < len(data) < 5000 and answer["psnr"] > 20 and answer["ms_ssim"] > 0.8


BAD = {
    "/page/compress?model=many": (b"no picture", 400, "not an image that can be read"),
    "/page/compress?model=none": (b"", 404, "Servable not found"),
    "/page/compress": (b"", 400, "model: Field required"),
    "/page/compress?model=many&quality=high": (b"", 400, "quality: Input should be"),
    "/page/compress?model=many&quality=101": (b"", 400, "quality: Input should be less than"),
    "/page/compress?model=many&quality=1000000000000000000000": (b"", 400, "less than"),
    "/page/peer?name=jpeg&size=0": (b"", 400, "size: Input should be greater than"),
    "/page/compress?model=one&quality=10": (file_of(cropped(5, 5)), 400, "has a fixed rate"),
    "/page/picture": (
        file_of(cropped(301, 300)),
        400,
        "300×301 is over the page's limit of 90,000",
    ),
    "/page/picture?": (file_of(cropped(50, 50))[:-900], 400, "the image is damaged"),
    "/page/picture?a": (b"", 400, "the file is empty"),
    "/page/compress?model=one&a": (file_of(cropped(250, 240)), 400, "over the limit"),
    "/page/decompress": (b"\xf1TC\x01damaged", 400, "damaged: the model's name cannot be read"),
    "/page/decompress?": (CUT, 400, "damaged: the file was cut short"),
    "/page/peer?name=gif&size=5": (b"", 404, "there is no codec gif"),
    "/page/peer?name=jpeg&size=5": (b"", 400, "the file is empty"),
}


@pytest.mark.parametrize("path", BAD)
def test_invalid_requests_get_one_line(server, path):
    body, code, line = BAD[path]
    status, answer = server.ask(path, body, "POST")
    assert status == code and line in answer["error"] and "\n" not in answer["error"]


def test_file_of_an_unknown_model(server):
    data = golden_codec("bls2017").compress(cropped(20, 20))
    status, answer = server.ask("/page/decompress?model=one", data)
    assert status == 400 and "bls2017" in answer["error"]
    data = golden_codec(ONE_RATE).compress(cropped(300, 400))
    status, answer = server.ask("/page/decompress?model=one", data)
    assert status == 400 and "400×300 is over the page's limit" in answer["error"]


def test_file_over_the_limit(server):
    status, answer = server.ask("/page/picture", bytes(LIMIT + 1))
    assert status == 413 and answer["error"].endswith(f"limit of {LIMIT} bytes")


def test_disconnected_client_cancels_its_request(server):
    """The request is cancelled and logged."""
    host, port = server.rest.removeprefix("http://").split(":")
    body = file_of(np.random.default_rng(0).integers(0, 256, (299, 300, 3), np.uint8), "JPEG")
    head = (
        f"POST /page/peer?name=avif&size=60000 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}"
    )
    sockets = [socket.create_connection((host, int(port))) for _ in range(6)]
    for one in sockets:
        one.sendall(head.encode() + b"\r\n\r\n" + body)
    time.sleep(0.5)
    for one in sockets:
        one.close()
    server.wait_for(r'"/page/peer".*the client has disconnected', 30)


def test_too_many_requests(server):
    body = file_of(np.random.default_rng(0).integers(0, 256, (120, 300, 3), np.uint8), "JPEG")
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(server.ask("/page/peer?name=avif&size=60000", body)[0])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}


def test_without_the_page(models):
    with running(f"--model_base_path={models}/one", "--page=false") as process:
        assert process.ask("/") == (404, {"error": "there is no / on this server"})
        assert process.ask("/page/models")[0] == 404
        process.wait_for('"status": "NOT_FOUND"')
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{process.rest}/page/main.js")
