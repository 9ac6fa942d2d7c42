"""Sizes at equal quality, interpolated between two settings."""

from __future__ import annotations

import math

import pytest

from tfc_models.evaluation.equal import Trial, size_at_quality

SETTINGS = tuple(range(1, 101))


def trial_at(setting: float) -> Trial:
    """Simulates a codec whose size doubles, with 3 dB more, every 10 settings."""
    return Trial(round(1e6 * 2.0 ** (setting / 10)), 20.0 + 0.3 * setting)


@pytest.mark.parametrize("quality", [20.3, 20.35, 30.0, 37.777, 50.0])
def test_sizes_are_interpolated_at_exactly_the_quality(quality):
    result = size_at_quality(SETTINGS, quality, trial_at)
    assert result.bytes == pytest.approx(1e6 * 2.0 ** ((quality - 20.0) / 3.0), rel=1e-5)
    below, above = result.trials
    assert below.quality <= quality + 1e-9 and above.quality >= quality - 1e-9
    assert result.settings[1] - result.settings[0] == 1


@pytest.mark.parametrize(("quality", "end"), [(20.2, 1), (50.1, 100)])
def test_qualities_out_of_range_give_the_nearest_file_and_no_size(quality, end):
    result = size_at_quality(SETTINGS, quality, trial_at)
    assert result.bytes is None
    assert (result.settings, result.trials) == ((end,), (trial_at(end),))


def test_each_setting_is_coded_at_most_once_and_few_are_tried():
    coded = []

    def counted(setting: float) -> Trial:
        coded.append(setting)
        return trial_at(setting)

    size_at_quality(SETTINGS, 33.3, counted)
    assert len(coded) == len(set(coded)) <= 9


def test_non_monotone_curves_still_bracket_the_quality():
    qualities = [30.0, 31.0, 33.0, 32.0, 34.0, 33.5, 36.0]
    result = size_at_quality(range(7), 32.5, lambda i: Trial(100 + i, qualities[int(i)]))
    below, above = (qualities[int(setting)] for setting in result.settings)
    assert below <= 32.5 <= above


def test_qualities_above_the_best_lossy_setting_use_its_size():
    trials = [Trial(100, 30.0), Trial(200, 40.0), Trial(900, math.inf)]
    assert size_at_quality((0, 1, 2), 45.0, lambda i: trials[int(i)]).bytes == pytest.approx(200)


def test_a_setting_of_exactly_the_quality_suffices():
    result = size_at_quality((5,), 30.0, lambda _: Trial(123, 30.0))
    assert result.bytes == pytest.approx(123)
