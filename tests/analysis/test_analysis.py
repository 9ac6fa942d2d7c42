"""BD-rates, rate-distortion curves and plots."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tfc_models import analysis
from tfc_models.analysis import METRICS, Curve, NoOverlapError, Point, bd_rate, plots

PSNR, MS_SSIM = METRICS
ANCHOR = [(0.25, 30.0), (0.5, 33.0), (1.0, 36.5), (2.0, 41.0)]


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("ms2020", -15.7),
        ("mbt2018", -8.1),
        ("mbt2018-mean", -3.3),
        ("bmshj2018", 8.3),
        ("bls2017", 33.0),
    ],
)
def test_bd_rates_of_the_published_curves_against_bpg_444_in_psnr(name, percent):
    curves = analysis.published()
    result = bd_rate(curves["bpg444"].of(PSNR), curves[name].of(PSNR))
    assert result == pytest.approx(percent, abs=0.5)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 3.0])
def test_bd_rate_of_a_curve_with_another_rate_everywhere(factor):
    test = [(factor * rate, quality) for rate, quality in ANCHOR]
    assert bd_rate(ANCHOR, test) == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_bd_rate_is_over_the_common_range_only():
    anchor = [(2.0**step, 30.0 + 3 * step) for step in range(5)]
    # Qualities outside the anchor's range have no effect.
    test = [(0.5 * rate, quality) for rate, quality in anchor[1:3]]
    assert bd_rate(anchor, test) == pytest.approx(-50.0)
    assert bd_rate(test, anchor) == pytest.approx(100.0)


def test_bd_rate_of_swapped_curves_is_the_reciprocal():
    curves = analysis.published()
    there = bd_rate(curves["bpg444"].of(PSNR), curves["bls2017"].of(PSNR))
    back = bd_rate(curves["bls2017"].of(PSNR), curves["bpg444"].of(PSNR))
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_bd_rate_accepts_any_order_and_drops_dominated_points():
    expected = bd_rate(ANCHOR, [(2 * rate, quality) for rate, quality in ANCHOR])
    test = [(2 * rate, quality) for rate, quality in reversed(ANCHOR)]
    # A duplicate, three dominated points, and a lossless one.
    test += [test[0], (1.0, 31.0), (1.5, 32.5), (2.5, 36.5), (30.0, math.inf)]
    assert bd_rate(ANCHOR, test) == pytest.approx(expected)
    assert bd_rate(np.array(ANCHOR), test) == pytest.approx(expected)


def test_errors_name_both_ranges_that_do_not_overlap():
    with pytest.raises(NoOverlapError, match=r"30\.000 to 41\.000.*42\.000 to 50\.000") as caught:
        bd_rate(ANCHOR, [(1.0, 42.0), (2.0, 50.0)])
    assert (caught.value.anchor, caught.value.test) == ((30.0, 41.0), (42.0, 50.0))
    with pytest.raises(NoOverlapError):  # A single common quality is not a range.
        bd_rate(ANCHOR, [(1.0, 41.0), (2.0, 50.0)])


@pytest.mark.parametrize("points", [[], [(1.0, 30.0)], [(1.0, 30.0), (2.0, 29.0)]])
def test_a_curve_of_one_point_is_refused(points):
    with pytest.raises(ValueError, match="at least two points, and the other curve"):
        bd_rate(ANCHOR, points)
    with pytest.raises(ValueError, match="the anchor has"):
        bd_rate(points, ANCHOR)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_nonpositive_rates_are_refused(rate):
    with pytest.raises(ValueError, match="positive"):
        bd_rate(ANCHOR, [*ANCHOR, (rate, 35.0)])


def test_two_columns_are_not_mistaken_for_points():
    with pytest.raises(ValueError, match="pairs of rate and quality"):
        bd_rate(([0.1, 0.2, 0.3], [30, 31, 32]), ANCHOR)


def test_published_curves_name_their_source_and_are_small():
    text = analysis.curves.PUBLISHED.read_text(encoding="utf-8")
    assert len(text) < 60_000 and '"source"' in text
    for name, curve in analysis.published().items():
        assert curve.kind == "published"
        assert max(len(curve.of(PSNR)), len(curve.of(MS_SSIM))) >= 6, name


def test_ms_ssim_is_compared_in_decibels():
    curve = Curve("x", (Point(1.0, 40.0, 0.99), Point(0.5, 35.0, 0.9), Point(9.0, 99.0, 1.0)))
    assert curve.of(MS_SSIM) == [(0.5, pytest.approx(10.0)), (1.0, pytest.approx(20.0))]


def test_points_without_a_metric_are_left_out_of_its_curve():
    curve = Curve("x", (Point(1.0, 40.0), Point(0.5, math.inf, 0.9), Point(2.0)))
    assert curve.of(PSNR) == [(1.0, 40.0)]
    assert curve.of(MS_SSIM) == [(0.5, pytest.approx(10.0))]


def many_curves() -> list[Curve]:
    points = tuple(Point(rate, quality, 1 - 10 ** (-quality / 20)) for rate, quality in ANCHOR)
    one = Curve("one rate", (Point(0.7, 36.0, 0.97),), "model")
    curves = [Curve("many", points, "model"), one, Curve("JPEG", points), Curve("XYZ", points)]
    return [*curves, *list(analysis.published().values())[:10]]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_plots_are_images_and_reproducible(metric):
    files = {}
    for _ in range(2):
        figure = analysis.rd_plot(many_curves(), metric, "A title")
        for kind in ("png", "svg"):
            data = analysis.save_plot(figure, kind)
            assert files.setdefault(kind, data) == data
    with Image.open(io.BytesIO(files["png"])) as image:
        assert image.format == "PNG" and image.width > 900
    assert b"<svg" in files["svg"]


def test_every_curve_is_named_beside_the_axes_and_apart():
    curves = many_curves()
    axes = analysis.rd_plot(curves, PSNR).axes[0]
    heights = {text.get_text(): text.xyann[1] for text in axes.texts}
    assert set(heights) == {curve.name for curve in curves}
    assert np.diff(sorted(heights.values())).min() > 0.99 * plots.LABEL_GAP
    # The limits of the axes follow the measured curves, with a margin.
    assert axes.get_xlim()[0] > 0.2 and axes.get_xlim()[1] < 2.5


def test_a_curve_looks_the_same_in_every_plot():
    def looks(metric):
        lines = analysis.rd_plot(many_curves(), metric).axes[0].get_lines()
        return {line.get_label(): (line.get_color(), line.get_linestyle()) for line in lines}

    in_ms_ssim = looks(MS_SSIM)
    assert 0 < len(in_ms_ssim) < len(looks(PSNR))
    assert in_ms_ssim.items() <= looks(PSNR).items()


def test_plots_of_one_point_and_of_no_points():
    one = Curve("one", (Point(0.7, 36.0),), "model")
    assert analysis.save_plot(analysis.rd_plot([one], PSNR), "png")
    with pytest.raises(ValueError, match="no curve has a point with MS-SSIM"):
        analysis.rd_plot([one], MS_SSIM)


def test_analysis_needs_no_tensorflow():
    program = "import sys\nsys.modules['tensorflow'] = None\nfrom tfc_models import analysis"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


LPIPS = analysis.Metric("lpips", "LPIPS", digits=3, higher_is_better=False)


def distances(name: str, factor: float = 1.0) -> Curve:
    """A curve whose LPIPS falls with the rate."""
    pairs = ((0.25, 0.4), (0.5, 0.3), (1.0, 0.2), (2.0, 0.1))
    return Curve(name, tuple(Point(factor * r, 30.0, None, {"lpips": d}) for r, d in pairs))


def test_lower_distances_are_higher_qualities():
    curve = distances("x")
    assert [quality for _, quality in curve.of(LPIPS)] == [-0.4, -0.3, -0.2, -0.1]
    assert LPIPS.text(-0.25) == "0.250" and PSNR.text(30.0) == "30.00 dB"
    assert (PSNR.short, PSNR.unit, LPIPS.short, LPIPS.unit) == ("PSNR", "dB", "LPIPS", "")
    assert Curve("y", (Point(1.0, 30.0),)).of(LPIPS) == []


def test_bd_rate_by_a_distance():
    assert bd_rate(distances("x").of(LPIPS), distances("y", 0.5).of(LPIPS)) == pytest.approx(-50.0)


def test_plots_of_distances_invert_the_axis_and_keep_the_values():
    axes = analysis.rd_plot([distances("x")], LPIPS).axes[0]
    assert axes.get_ylabel() == "LPIPS (lower is better)"
    rates, heights = axes.get_lines()[0].get_data()
    assert list(heights[np.argsort(rates)]) == sorted(heights)
    axes.figure.canvas.draw()
    ticks = [float(label.get_text()) for label in axes.get_yticklabels() if label.get_text()]
    assert ticks == sorted(ticks, reverse=True) and min(ticks) >= 0.0
