"""Damaged files give one clear error, never a wrong image."""

from __future__ import annotations

import functools
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import damage
from benchmarks.damage import (
    CASES,
    DEFAULT,
    MODELS,
    UNTRAINED,
    Outcome,
    assembled,
    attempt,
    canonical_bomb,
    damaged,
    least_bytes,
    memory_mb,
    original,
    parts,
)
from tests.conftest import ROOT, golden_codec
from tfc_models import models

EXAMPLES = 300, 40  # for each of the models, with --exhaustive and without
LOADED = damage.codec


@pytest.fixture(autouse=True)
def shared_codecs(monkeypatch):
    """Uses the codecs of other tests, whose graphs may exist already."""
    monkeypatch.setattr(damage, "codec", lambda n: LOADED(n) if n == DEFAULT else golden_codec(n))


def test_damage_tests_cover_every_registered_model():
    assert set(models.names()) <= set(MODELS)
    assert sorted({*models.stable_names(), *UNTRAINED}) == models.names()


@functools.cache
def start_memory() -> float:
    return memory_mb()


@pytest.mark.sampled
@pytest.mark.parametrize("name", MODELS)
def test_every_damaged_file_is_refused_with_one_line(name, request):
    examples = EXAMPLES[not request.config.getoption("--exhaustive")]
    counts = dict.fromkeys(CASES, 0)
    start_memory()
    whole = [attempt(name, original(name)) for _ in range(3)]
    assert all(outcome.verdict == Outcome.SAME_IMAGE for outcome in whole)
    intact = min(outcome.seconds for outcome in whole)

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(CASES), st.integers(0, 2**63))
    def check(case: str, seed: int) -> None:
        data = damaged(name, case, seed)
        outcome = attempt(name, data)
        assert outcome.verdict in (Outcome.REFUSED, Outcome.SAME_IMAGE), (case, seed, outcome)
        if outcome.verdict == Outcome.REFUSED:
            assert "\n" not in outcome.message and 10 < len(outcome.message) < 300
        # An intact file of 0.02 megapixels takes milliseconds; decompression bombs claim up to 4.
        # A second attempt, in case the machine was busy.
        if outcome.seconds >= 500 * intact:
            outcome = attempt(name, data)
        assert outcome.seconds < 500 * intact, (case, seed, outcome)
        counts[case] += 1

    check()
    assert sum(counts.values()) >= examples and min(counts.values()) > 0
    # Peak memory also covers allocations that were freed.
    # All models, with their graphs, stay in this process.
    assert memory_mb() - start_memory() < 1536


def test_the_slowest_and_the_largest_bombs_stay_within_bounds():
    """Forged files have valid streams and claim 16 megapixels that they do not contain."""
    for name, limit in (("bls2017", 256), (DEFAULT, 1024)):
        before = memory_mb()
        outcome = attempt(name, canonical_bomb(name, 4096))
        assert outcome.verdict == Outcome.REFUSED
        assert memory_mb() - before < limit


def test_a_cut_escape_code_does_not_hang():
    """A separate process, because the range decoder cannot be interrupted."""
    code = (
        "import itertools\n"
        "import tensorflow as tf\n"
        "tf.config.run_functions_eagerly(True)\n"  # Building graphs takes longer.
        "from benchmarks import damage\n"
        "names, values = ('bls2017', 'mbt2018-mean'), (2**22 - 1, 2**20 + 3)\n"
        "for name, value in itertools.product(names, values):\n"
        "    *first, last = damage.escape(name, value)\n"
        "    prefix, _, _, latent = damage.parts(damage.original(name))\n"
        "    for cut in range(1, 8):\n"
        "        data = damage.assembled(prefix, [64, 64, 0], [*first, last[:-cut]], latent)\n"
        "        print(damage.attempt(name, data).verdict.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["REFUSED"] * 28, done.stderr


def test_a_bomb_with_plausible_streams_is_refused_before_its_latents_exist():
    """The zoo's default model: 64 megapixels, and hyper-latents of a plausible size."""
    data = original(DEFAULT)
    prefix, _, (_, y), latent = parts(data)
    seconds, memory = attempt(DEFAULT, data).seconds, memory_mb()
    for filling in (bytes, random.Random(0).randbytes):
        z = filling(least_bytes(DEFAULT, 8192))
        outcome = attempt(DEFAULT, assembled(prefix, [8192, 8192, 0], [z, y * 99], latent))
        assert "does not fit its size" in outcome.message
        # The real image has 1/3000 of that size; the memory must not grow with the claim.
        assert outcome.seconds < 500 * seconds
    assert memory_mb() - memory < 256
