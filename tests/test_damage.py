"""Whatever is wrong with a file, the answer is one clear error: never a wrong picture."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.damage import CASES, MODELS, Outcome, attempt, damaged, memory_mb
from tests.conftest import GOLDEN

EXAMPLES = 800  # for each of the four models


@functools.cache
def start_memory() -> float:
    return memory_mb()


@pytest.mark.parametrize("name", MODELS)
def test_every_damaged_file_is_refused_with_one_line(name):
    seen = dict.fromkeys(CASES, 0)
    start_memory()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(CASES), st.integers(0, 2**63))
    def check(case: str, seed: int) -> None:
        data = damaged(name, case, seed)
        outcome = attempt(name, data)
        assert outcome.verdict in (Outcome.REFUSED, Outcome.SAME_PICTURE), (case, seed, outcome)
        if outcome.verdict == Outcome.REFUSED:
            assert "\n" not in outcome.message and 10 < len(outcome.message) < 300
        seen[case] += 1

    check()
    assert sum(seen.values()) >= EXAMPLES and min(seen.values()) > 0
    # Peak, not current: a bomb that was allocated and freed would show.
    assert memory_mb() - start_memory() < 1024


def test_golden_files_themselves_are_fine():
    for name in MODELS:
        outcome = attempt(name, (GOLDEN / f"{name}.tfcm").read_bytes())
        assert outcome.verdict == Outcome.SAME_PICTURE
