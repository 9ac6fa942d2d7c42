"""Web page in headless Chromium. Skipped if Chromium is not installed."""

from __future__ import annotations

import base64
import io
import pathlib
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.conftest import codec_with_decoders, cropped, golden_codec
from tests.server_process import config_of, running
from tfc_models import samples
from tfc_models.metrics import METRICS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its driver")
MANY_RATES, ONE_RATE = "gained-stem4", "mbt2018-mean"
LIMIT = 2_000_000
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Chromium must not contact other machines.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DROP = """
const [name, text] = arguments;
const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name));
document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
"""


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    exported(MANY_RATES, folder / "many", decoders=True)
    exported(ONE_RATE, folder / "one")
    flags = [config_of(folder, "many", "one"), f"--max_request_bytes={LIMIT}"]
    with running(*flags) as process:
        yield process


class Page:
    """Browser window with the page."""

    def __init__(self, address: str, folder: pathlib.Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for option in [*OPTIONS, f"--user-data-dir={folder}/profile"]:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.downloads = folder / "downloads"
        behaviour = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        self.address = address
        self.resize(1200, 900)

    def load(self) -> None:
        self.driver.get(self.address)
        self.settled("Compressed")

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def __getitem__(self, name: str):
        return self.driver.find_element(By.ID, name)

    def script(self, text: str, *arguments: object):
        return self.driver.execute_script(text, *arguments)

    def until(self, check, what: str, seconds: float = 60.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := check():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what}: {self['status'].text!r} {self['error'].text!r}")

    def settled(self, start: str) -> str:
        return self.until(
            lambda: self["status"].text.startswith(f"{start} ") and self["status"].text,
            f"nothing {start}",
        )

    def choose(self, path: pathlib.Path) -> None:
        self["file"].send_keys(str(path))

    def drop(self, name: str, data: bytes) -> None:
        self.script(DROP, name, base64.b64encode(data).decode())

    def complaint(self) -> str:
        return self.until(lambda: self["error"].text, "no complaint")

    def row(self, key: str) -> list[str]:
        """Returns the cells of a codec's row, read in one step because they may change."""
        cells = f"document.querySelectorAll('tr[data-key={key}] > *')"
        return self.script(f"return [...{cells}].map((cell) => cell.textContent)")

    def downloaded(self, link: str) -> bytes:
        name = self[link].get_attribute("download")
        self[link].click()
        path = self.downloads / name
        self.until(path.exists, f"no {name}")
        data = path.read_bytes()
        path.unlink()
        return data

    def split(self) -> float:
        text = self.script(
            "return document.getElementById('stage').style.getPropertyValue('--split')"
        )
        return float(text.rstrip("%"))


@pytest.fixture(scope="module")
def window(server, tmp_path_factory):
    page = Page(server.rest, tmp_path_factory.mktemp("browser"))
    yield page
    page.driver.quit()


@pytest.fixture
def page(window):
    window.load()
    yield window
    severe = [line for line in window.driver.get_log("browser") if line["level"] == "SEVERE"]
    # Chromium logs every error response; anything else is a defect of the page.
    assert [s for s in severe if "Failed to load resource" not in s["message"]] == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("photos") / "holiday in Åre.png"
    Image.fromarray(cropped(203, 251)).save(path)
    return path


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_page_opens_with_a_sample(page):
    first = sorted(samples.PHOTOS)[0]
    assert first in page.settled("Compressed")
    assert [len(page.row(key)) for key in ("model", "jpeg", "webp", "avif")] == [5] * 4
    assert "quality 50" in page.row("model")[0] and "quality" in page.row("avif")[0]
    headings = "document.querySelectorAll('#figures thead th')"
    titles = page.script(f"return [...{headings}].map((cell) => cell.textContent)")
    assert titles == ["Codec", "Bytes", "bpp", *(METRICS[n].heading for n in ("psnr", "ms-ssim"))]
    best = page.driver.find_elements(By.CSS_SELECTOR, "td.best")
    assert {cell.get_attribute("data-name") for cell in best} == {"psnr", "ms_ssim"}
    page.driver.find_element(By.CSS_SELECTOR, "#samples button:nth-child(2)").click()
    page.until(lambda: sorted(samples.PHOTOS)[1] in page["status"].text, "the other sample")


def test_upload_compare_and_download(page, photo):
    page.choose(photo)
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    data = page.downloaded("bitstream")
    codec = golden_codec(MANY_RATES)
    assert data == codec.compress(cropped(203, 251), 50)
    assert page.row("model")[1] == f"{len(data):,}"
    assert page["bitstream"].get_attribute("download") == "holiday in Åre.tfcm"
    png = opened(page.downloaded("png"))
    assert np.abs(png.astype(int) - codec.decompress(data)).max() <= 1
    # The divider follows the pointer.
    split, width = page["split"], page["split"].size["width"]
    actions = ActionChains(page.driver).move_to_element_with_offset(split, -width // 4, 0)
    actions.click().perform()
    assert page.split() == pytest.approx(25, abs=1.5)
    ActionChains(page.driver).drag_and_drop_by_offset(split, width // 4, 0).perform()
    assert page.split() == pytest.approx(75, abs=1.5)
    clip = page.script("return getComputedStyle(document.getElementById('over')).clipPath")
    assert clip.startswith("inset(0px ")
    # The left and right images can be selected.
    for side, image in (("left", "over"), ("right", "under")):
        page[side].send_keys("AVIF")
        page.until(lambda image=image: page[image].get_attribute("alt") == "AVIF", side)
        assert page.script("return arguments[0].naturalWidth", page[image]) == 251


def test_quality_changes_the_file(page, photo):
    page.choose(photo)
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    page["quality"].send_keys(Keys.HOME)
    assert page["quality-value"].text == "0"
    page.until(lambda: "quality 0" in page.row("model")[0], "quality 0")
    data = golden_codec(MANY_RATES).compress(cropped(203, 251), 0)
    assert page.row("model")[1] == f"{len(data):,}" and page.downloaded("bitstream") == data
    # A fixed-rate model has no quality slider.
    page["model"].send_keys("one")
    page.until(lambda: "one" in page.row("model")[0], "the other model")
    assert not page["quality-row"].is_displayed()
    assert page.downloaded("bitstream") == golden_codec(ONE_RATE).compress(cropped(203, 251))


def test_realism_changes_the_image_only(page, photo):
    page.choose(photo)
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    data, peers = page.downloaded("bitstream"), [page.row(name) for name in ("jpeg", "avif")]
    page["realism"].send_keys(Keys.END)
    assert page["realism-value"].text == "1.00"
    page.until(lambda: "realism 1" in page.row("model")[0], "realism 1")
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    assert page.downloaded("bitstream") == data
    codec = codec_with_decoders(MANY_RATES)
    sharp = codec.decompress(data, realism=1.0).astype(int)
    assert np.abs(opened(page.downloaded("png")) - sharp).max() <= 1
    assert [page.row(name) for name in ("jpeg", "avif")] == peers
    assert "--realism 1 decompress" in page.script(
        "return document.getElementById('command').textContent"
    )
    # Realism also applies to .tfcm files.
    page.drop("packed.tfcm", data)
    assert "packed.tfcm" in page.settled("Decompressed")
    assert np.abs(opened(page.downloaded("png")) - sharp).max() <= 1
    page.script("document.querySelector('#zoom input[value=\"3\"]').click()")
    page["realism"].send_keys(Keys.HOME)
    faithful = codec.decompress(data).astype(int)
    page.until(lambda: np.abs(opened(page.downloaded("png")) - faithful).max() <= 1, "realism 0")
    assert page.script("return document.querySelector('#zoom input[value=\"3\"]').checked")
    page["model"].send_keys("one")
    assert not page["realism-row"].is_displayed()


def test_fast_decoder_changes_the_image_only(page, photo):
    page.choose(photo)
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    data = page.downloaded("bitstream")
    page["fast"].click()
    page.until(lambda: "fast decoder" in page.row("model")[0], "the fast decoder")
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    assert page.downloaded("bitstream") == data and not page["realism"].is_enabled()
    fast = codec_with_decoders(MANY_RATES).decompress(data, decoder="fast").astype(int)
    assert np.abs(opened(page.downloaded("png")) - fast).max() <= 1
    assert "--decoder fast decompress" in page.script(
        "return document.getElementById('command').textContent"
    )
    page.drop("packed.tfcm", data)
    assert "packed.tfcm" in page.settled("Decompressed")
    assert np.abs(opened(page.downloaded("png")) - fast).max() <= 1
    page["model"].send_keys("one")
    assert not page["fast-row"].is_displayed()


def test_tfcm_file_is_decompressed(page):
    codec = golden_codec(ONE_RATE)  # Not the selected model.
    data = codec.compress(cropped(60, 90))
    page.drop("packed.tfcm", data)
    assert "packed.tfcm" in page.settled("Decompressed")
    assert not page["bitstream"].is_displayed() and not page["left"].is_displayed()
    assert page.row("model")[1:3] == [f"{len(data):,}", f"{8 * len(data) / 5400:.3f}"]
    png = opened(page.downloaded("png"))
    assert np.abs(png.astype(int) - codec.decompress(data)).max() <= 1


def test_broken_file_shows_one_line(page, photo):
    before = page["status"].text, page.row("model")
    cases = {
        "broken.png": (photo.read_bytes()[:2000], "broken.png: the image is damaged"),
        "notes.txt": (b"These are notes.", "notes.txt: not an image that can be read"),
        "empty.png": (b"", "empty.png: the file is empty."),
        "cut.tfcm": (b"\xf1TC\x01cut", "cut.tfcm: damaged"),
    }
    for name, (data, line) in cases.items():
        page.drop(name, data)
        page.until(lambda line=line: page["error"].text.startswith(line), line)
        assert page["error"].get_attribute("role") == "alert" and "\n" not in page["error"].text
    # The previous image is still shown and works.
    assert page.row("model") == before[1] and page["result"].is_displayed()
    page.drop("whole.png", photo.read_bytes())
    page.until(lambda: "whole.png" in page.settled("Compressed"), "the whole one")
    assert not page["error"].is_displayed()


def test_file_over_the_limit(page, tmp_path):
    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(noise).save(large)
    assert large.stat().st_size > LIMIT
    page.choose(large)
    assert page.complaint() == "large.png: the file is larger than this server's limit of 1.9 MiB."


def test_keyboard_only(page):
    page.script("document.activeElement.blur()")
    reached = []
    for _ in range(20):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        active = page.driver.switch_to.active_element
        reached.append(active.get_attribute("id") or active.tag_name)
        if reached[-1] == "split":
            break
    assert {"file", "button", "model", "quality", "left", "right", "split"} <= set(reached)
    before = page.split()
    ActionChains(page.driver).send_keys(Keys.ARROW_LEFT * 20).perform()
    assert page.split() == pytest.approx(before - 2.0)
    outline = "return getComputedStyle(document.querySelector('.line'), '::after').outlineStyle"
    assert page.script(outline) == "solid"
    page.driver.find_element(By.CSS_SELECTOR, "#samples button:nth-child(3)").send_keys(Keys.ENTER)
    page.until(lambda: sorted(samples.PHOTOS)[2] in page["status"].text, "the third sample")


def test_zoom_shows_pixels(page, photo):
    page.choose(photo)
    page.until(lambda: photo.name in page.settled("Compressed"), "the photo")
    for zoom in (1, 3):
        selector = f"#zoom input[value='{zoom}']"
        page.driver.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.SPACE)
        assert page["stage"].size == {"width": 251 * zoom, "height": 203 * zoom}


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1200, False)])
def test_narrow_and_wide_light_and_dark(page, width, dark):
    page.resize(width, 800)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.script(over) == 0
        color = page.script("return getComputedStyle(document.body).backgroundColor")
        levels = [int(v) for v in color.strip("rgb()").split(",")]
        assert (max(levels) < 64) if dark else (min(levels) > 192)
        for name in ("drop", "model", "quality", "left", "right", "bitstream", "figures"):
            box = page[name].rect
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, name
    finally:
        page.resize(1200, 900)


def test_server_that_does_not_respond(server, page, photo, tmp_path):
    page.script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    page.choose(photo)
    assert page.complaint() == f"{photo.name}: The server does not respond."
