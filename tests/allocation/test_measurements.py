"""Measurements of images: reuse, versions of codecs and metrics, and killed runs."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import cropped
from tests.quick_codec import GradedCodec
from tfc_models import allocation
from tfc_models.allocation import (
    Candidate,
    CodecSettings,
    Measured,
    Measurements,
    Measurer,
    measurements,
)
from tfc_models.allocation.measuring import MeasuringSettings
from tfc_models.evaluation import QualityMetric
from tfc_models.evaluation.quality_metrics import table_metric

JPEG = CodecSettings(("jpeg",), qualities=(20, 50, 80))
PHOTO = cropped(40, 50)


@pytest.fixture
def photo(tmp_path) -> pathlib.Path:
    path = tmp_path / "a.png"
    Image.fromarray(PHOTO).save(path)
    return path


@pytest.fixture
def settings(tmp_path) -> MeasuringSettings:
    return MeasuringSettings(JPEG, path=tmp_path / "measurements.jsonl")


def metric(identity: str) -> QualityMetric:
    """Returns a metric whose values are the lengths of its identity."""
    return QualityMetric(table_metric("nlpd"), identity, lambda a, b: float(len(identity)))


def measured(photo: pathlib.Path, settings: MeasuringSettings, candidates=None) -> Measured:
    with Measurer(settings, candidates) as measurer:
        return measurer.measure(photo)


def lines(settings: MeasuringSettings) -> list[dict]:
    return [json.loads(line) for line in settings.path.read_bytes().splitlines()]


def test_measurements_are_those_of_the_files(photo):
    candidates = JPEG.candidates()
    assert [c.label for c in candidates] == [
        "JPEG, quality 20",
        "JPEG, quality 50",
        "JPEG, quality 80",
    ]
    found = measured(photo, MeasuringSettings(JPEG))
    for candidate, result in zip(candidates, found.measurements):
        data = candidate.setting.encode(PHOTO)
        decoded = candidate.setting.decode(data)
        assert result.bytes == len(data)
        assert result.mse == np.square(PHOTO.astype(float) - decoded).mean()


def test_a_second_run_measures_nothing(photo, settings):
    first = measured(photo, settings)
    text = settings.path.read_bytes()
    second = measured(photo, settings)
    assert second.measurements == first.measurements
    assert (first.reused, second.reused) == (0, 3)
    assert settings.path.read_bytes() == text


def test_a_killed_run_continues_after_an_incomplete_line(photo, settings):
    complete = measured(photo, settings).measurements
    text = settings.path.read_bytes()
    settings.path.write_bytes(text[: len(text) - 20])
    again = measured(photo, settings)
    assert (again.reused, again.measurements) == (2, complete)
    assert measured(photo, settings).reused == 3


def test_other_pixels_are_measured(photo, settings):
    measured(photo, settings)
    Image.fromarray(PHOTO[::-1]).save(photo)
    assert measured(photo, settings).reused == 0


def graded(digest: str) -> list[Candidate]:
    codec = GradedCodec()
    codec.digest = digest
    return CodecSettings(qualities=(10, 90)).candidates(lambda name: codec)


def test_other_weights_are_detected_and_measured_again(photo, settings):
    measured(photo, settings, graded("00000001"))
    other = measured(photo, settings, graded("00000002"))
    assert (other.reused, other.outdated) == (0, 2)
    assert measured(photo, settings, graded("00000001")).reused == 2


def test_other_versions_of_a_standard_codec_are_detected(photo, settings, monkeypatch):
    measured(photo, settings)
    newer = property(lambda peer: "libjpeg-turbo 99")
    monkeypatch.setattr(allocation.candidates.Peer, "version", newer)
    found = measured(photo, settings)
    assert (found.reused, found.outdated) == (0, 3)


def test_other_weights_of_a_metric_are_detected(tmp_path):
    path, (candidate, *_) = tmp_path / "m.jsonl", JPEG.candidates()
    for identity, outdated in (("nlpd 1", 0), ("nlpd 22", 1)):
        with Measurements(path, [metric(identity)]) as kept:
            assert kept.find("hash", candidate) is None
            assert kept.outdated == outdated
            kept.add("hash", candidate, measurements.measure(PHOTO, candidate, kept.metrics))
    for identity in ("nlpd 1", "nlpd 22"):
        with Measurements(path, [metric(identity)]) as kept:
            assert kept.find("hash", candidate).value("nlpd") == len(identity)
    with Measurements(path) as kept:  # Without the metric, both versions can be used.
        assert kept.find("hash", candidate).further == {}


def test_a_new_metric_is_not_outdated(tmp_path):
    path, (candidate, *_) = tmp_path / "m.jsonl", JPEG.candidates()
    with Measurements(path) as kept:
        kept.add("hash", candidate, measurements.measure(PHOTO, candidate, ()))
    with Measurements(path, [metric("nlpd 1")]) as kept:
        assert kept.find("hash", candidate) is None and kept.outdated == 0


def test_folders_of_measurements_are_read(photo, settings, tmp_path):
    measured(photo, settings)
    folder = tmp_path / "of bulk" / "sub"
    folder.mkdir(parents=True)
    settings.path.rename(folder / "a.png.jsonl")
    other = MeasuringSettings(JPEG, path=settings.path, others=(folder.parent,))
    assert measured(photo, other).reused == 3
    assert lines(other) == []


def test_unreadable_images_and_failing_codecs_are_reported(photo, settings):
    assert "not an image" in str(measured(_broken(photo), settings).error)

    def fail(image: np.ndarray) -> bytes:
        raise ValueError("too wide.")

    first, *others = JPEG.candidates()
    failing = first._replace(setting=first.setting._replace(encode=fail))
    found = measured(photo, settings, [failing, *others])
    assert found.error is None and found.measurements[0] is None
    assert str(measured(photo, settings, [failing]).error) == "too wide."


def _broken(photo: pathlib.Path) -> pathlib.Path:
    path = photo.with_name("broken.png")
    path.write_bytes(b"no image")
    return path


def test_unavailable_qualities_are_left_out():
    mixed = CodecSettings(("graded", "jpeg"), qualities=(0, 50, 100))
    labels = [c.label for c in mixed.candidates(lambda name: GradedCodec())]
    assert labels == [
        "graded, quality 0",
        "graded, quality 50",
        "graded, quality 100",
        "JPEG, quality 50",
        "JPEG, quality 100",
    ]
    with pytest.raises(ValueError, match="JPEG has none of the qualities"):
        CodecSettings(("jpeg",), qualities=(0,)).candidates()
    with pytest.raises(ValueError, match="JPEG 2000 has rates in place of qualities: omit"):
        CodecSettings(("jpeg2000",), qualities=(50,)).candidates()


def test_every_standard_codec_has_a_suffix():
    from tfc_models.allocation.candidates import SUFFIXES
    from tfc_models.evaluation import PEERS

    assert SUFFIXES.keys() == PEERS.keys()
