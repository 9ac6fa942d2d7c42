"""Results of an evaluation: BD-rates, published curves and notes."""

from __future__ import annotations

import pytest

from tfc_models import analysis, evaluation
from tfc_models.evaluation import Figures, MeasuredImage, Row


def rows_of(*points: tuple[str, float, float], images: list[MeasuredImage]) -> list[Row]:
    return [
        Row(image, codec, kind_of(codec), f"{bpp}", Figures(1, bpp, psnr, 0.9, 0.1, 0.1))
        for image in images
        for codec, bpp, psnr in points
    ]


def kind_of(codec: str) -> str:
    return "model" if codec == "ours" else "codec"


KODAK = [MeasuredImage(f"kodim{i:02}.png", *((768, 512), (512, 768))[i % 2]) for i in range(24)]


@pytest.mark.parametrize(
    "images",
    [
        KODAK[1:],
        [*KODAK[1:], MeasuredImage("kodim00.png", 768, 513)],
        [*KODAK[1:], MeasuredImage("photo.png", 768, 512)],
    ],
)
def test_published_curves_are_of_kodak_only(images):
    assert evaluation.published_beside(images) == []
    assert len(evaluation.published_beside(KODAK)) == 7


def test_on_kodak_published_curves_are_compared_too():
    rows = rows_of(("ours", 0.2, 31.0), ("ours", 1.0, 38.0), images=KODAK)
    curves = evaluation.curves(evaluation.means(rows))
    rates = evaluation.bd_rates(curves, evaluation.published_beside(KODAK))
    assert {rate.anchor for rate in rates} == {"BPG 4:4:4"}
    result = {rate.codec: rate.percent for rate in rates if rate.metric == "psnr"}
    assert result["Minnen 2020"] == pytest.approx(-15.7, abs=0.5)
    assert result["ours"] is not None


def test_on_kodak_models_are_compared_with_every_published_curve():
    rows = rows_of(("ours", 0.2, 31.0), ("ours", 1.0, 38.0), images=KODAK)
    measured = evaluation.curves(evaluation.means(rows))
    assert evaluation.against_published(measured, KODAK[1:]) == []
    rates = evaluation.against_published(measured, KODAK)
    tables = evaluation.published_tables(rates)
    published = analysis.published().values()
    for metric in analysis.METRICS:
        headings, *lines = tables[metric.title]
        assert headings == ["against", "ours"]
        assert [line[0] for line in lines] == [c.name for c in published if c.of(metric)]
    row = dict(tables["PSNR (RGB), dB"][1:])
    assert row["BPG 4:4:4"].endswith("%") and row["ELIC 2022"].endswith("%")
    assert "| ELIC 2022 | " in evaluation.bd_markdown([], "Kodak.", rates)


def test_dominated_points_are_reported():
    points = ("ours", 0.2, 31.0), ("ours", 0.5, 30.0), ("ours", 1.0, 38.0)
    curves = evaluation.curves(evaluation.means(rows_of(*points, images=KODAK[:1])))
    note = "PSNR of ours: 1 of 3 points are no better than cheaper ones; "
    assert evaluation.falling_quality(curves)[0] == f"{note}BD-rates are without them."


def test_ranges_that_do_not_overlap_are_reported_in_a_note():
    points = ("ours", 0.2, 31.0), ("ours", 1.0, 38.0), ("JPEG", 0.2, 20.0), ("JPEG", 1.0, 30.0)
    curves = evaluation.curves(evaluation.means(rows_of(*points, images=KODAK[:1])))
    rates = evaluation.bd_rates(curves, [])
    note = "no common range of PSNR: ours has 31.00 to 38.00 dB, JPEG 20.00 to 30.00 dB."
    assert evaluation.bd_notes(rates)[0] == note
    headings, actual, jpeg = evaluation.bd_tables(rates)["PSNR (RGB), dB"]
    assert (headings, actual, jpeg) == (["", "against JPEG"], ["ours", "none (1)"], ["JPEG", "–"])
    assert f"(1) {note}" in evaluation.bd_markdown(rates, "One image.")
