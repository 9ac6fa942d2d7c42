"""What every code of the small sources reaches beside the best there is: tables, figures, gates."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from absl import logging

from tfc_models import sources
from tfc_models.training import config as configs
from tfc_models.training import source_plots
from tfc_models.training.config import SourceTraining
from tfc_models.training.source_codes import Outcome, outcomes_of

LMBDA = 8.0
RATES = (1.0, 3.0, 8.0, 32.0)
SOFT, LLOYD = "banana-networks-soft-rounding", "banana-code-vectors-Lloyd"
SAWBRIDGE_RATES, SEEDS = (20.0, 50.0, 100.0), (0, 1, 2)
SAWBRIDGE_GATE = 0.05
OPTIMUM, WATER = (1.81, 3.09, 4.07), (3.17, 11.27, 25.4)  # at DISTORTIONS
COPIED = {  # pictures of single trainings that are worth showing
    f"{SOFT}/cells.webp": "sources_cells.webp",
    f"{SOFT}/traversal.webp": "sources_grid.webp",
    f"{LLOYD}/cells.webp": "sources_vectors.webp",
    "sawbridge-50-0/traversal.webp": "sources_traversal.webp",
}
KLT_RATES = (80.0, 200.0, 500.0, 1000.0)
DISTORTIONS = (0.05, 0.02, 0.01)
WIDTHS = (3, 6, 12, 25, 50, 100)
CIRCLE_LMBDA = 100.0


class Gate(NamedTuple):
    """What a figure must be to count."""

    name: str
    value: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.low <= self.value <= self.high


class Trainings:
    """Trainings of configs, each in a folder of one folder, shortened or not."""

    def __init__(self, workdir: pathlib.Path, share: float = 1.0, samples: int | None = None):
        self.workdir, self.share, self.samples = workdir, share, samples

    def __call__(self, name: str, of: str, **changes: Any) -> list[Outcome]:
        """Of the config `of` with changed arguments; `seed` is the config's own."""
        config: SourceTraining = configs.read(of, [], SourceTraining)
        seed = changes.pop("seed", config.seed)
        config = dataclasses.replace(
            config,
            arguments={**config.arguments, **changes},
            steps=max(1, round(config.steps * self.share)),
            samples=self.samples or config.samples,
            seed=seed,
        )
        logging.info("%s: %d steps", name, config.steps)
        return outcomes_of(config, self.workdir / name)


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """In Markdown; numbers with three digits after the point."""

    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    header = list(header)
    lines = [header, ["---"] * len(header), *(map(cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gates(found: Iterable[Gate]) -> str:
    """Which are met, in Markdown."""
    rows = [
        (g.name, g.value, f"{g.low:.2f} to {g.high:.2f}", "yes" if g.met else "**no**")
        for g in found
    ]
    return table(("gate", "found", "asked", "met"), rows)


def banana(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """Codes at one lambda."""
    codes: dict[str, tuple[str, str, dict[str, Any]]] = {
        "linear": ("6.87", "banana_linear", {}),
        "networks, uniform noise": ("–", "banana", {"quantization": "noise"}),
        "networks, straight-through": ("–", "banana", {"quantization": "straight-through"}),
        "networks, universal": ("–", "banana", {"quantization": "universal"}),
        "networks, soft rounding": ("5.97", "banana", {}),
        "code vectors, by gradient": ("–", "banana_ecvq", {}),
        "code vectors, Lloyd": ("5.95", "banana_lloyd", {}),
    }
    rows, cost = [], {}
    for name, (published, of, changes) in codes.items():
        (outcome,) = train(f"banana {name}".replace(",", "").replace(" ", "-"), of, **changes)
        figures = outcome.figures
        cost[name] = figures.coded + LMBDA * figures.distortion
        rows.append((name, published, cost[name], figures.bits, figures.coded, figures.distortion))
    ecvq = min(cost["code vectors, by gradient"], cost["code vectors, Lloyd"])
    soft = cost["networks, soft rounding"]
    header = ("banana, lambda 8", "published", "bits coded + 8·SSE", "bits", "bits coded", "SSE")
    return table(header, rows), [
        Gate("linear", cost["linear"], 6.80, 6.95),
        Gate("networks with soft rounding", soft, 5.85, 6.00),
        Gate("code vectors, also below the networks", ecvq, 5.85, min(5.97, soft)),
    ]


def rates(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """One network for all rates beside one for each, and code vectors."""
    separate, vectors = [], []
    for lmbda in RATES:
        # At the other table's lambda it has trained them.
        networks, lloyd = f"rates-{lmbda:g}-networks", f"rates-{lmbda:g}-lloyd"
        known = lmbda == LMBDA
        separate += train(SOFT if known else networks, "banana", lmbda=lmbda)
        vectors += train(LLOYD if known else lloyd, "banana_lloyd", lmbda=lmbda)
    shared = {
        "gains": train("rates-gains", "banana_rates"),
        "gains, and networks that lambda modulates": train(
            "rates-conditioned", "banana_rates", conditioned=True
        ),
    }
    ways = {"a network for each": separate, **shared}
    best = [o.figures.cost(o.lmbda) for o in vectors]
    above = {
        name: [(o.lmbda, o.figures.cost(o.lmbda) - b) for o, b in zip(outcomes, best)]
        for name, outcomes in ways.items()
    }
    source_plots.lines(
        above,
        output / "sources_rates.webp",
        ("lambda, bits a unit of squared error", "bits + λ·SSE above code vectors'"),
        "The banana, one network for every rate",
        logarithmic="x",
    )
    rows = [
        (name, *(o.figures.cost(o.lmbda) for o in outcomes))
        for name, outcomes in {**ways, "code vectors, Lloyd": vectors}.items()
    ]
    return table(("bits + λ·SSE at λ =", *(f"{lmbda:g}" for lmbda in RATES)), rows), []


def sawbridge(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """Networks beside the optimum, and the Karhunen–Loève transform beside its Gaussian curve."""
    rows, found, best = [], [], []
    for lmbda in SAWBRIDGE_RATES:
        tried = [
            train(f"sawbridge-{lmbda:g}-{seed}", "sawbridge", lmbda=lmbda, seed=seed)[0].figures
            for seed in SEEDS
        ]
        # The best is that of least cost: a code of nothing at all is as near the curve as can be.
        figures = min(tried, key=lambda f: f.joint + lmbda * f.distortion)
        gaps = [f.joint - sources.sawbridge_entropy(f.distortion) for f in tried]
        gap = gaps[tried.index(figures)]
        best.append(figures)
        cells = sources.sawbridge_cells(lmbda)
        least = math.log2(cells) + lmbda / (6 * cells)
        cost = figures.joint + lmbda * figures.distortion - least
        of = (figures.distortion, figures.joint, gap, max(gaps), cost, figures.coded)
        rows.append((f"{lmbda:g}", *of))
        name = f"sawbridge, λ = {lmbda:g}: "
        found.append(Gate(f"{name}bits above the optimum", gap, -0.02, SAWBRIDGE_GATE))
        expected = math.log2(cells)
        found.append(Gate(f"{name}bits", figures.joint, 0.8 * expected, 1.2 * expected))
    linear = [
        train(f"sawbridge-klt-{lmbda:g}", "sawbridge_klt", lmbda=lmbda)[0].figures
        for lmbda in KLT_RATES
    ]
    axis = sorted({*(0.008 * 1.03**i for i in range(95)), *(1 / (6 * k) for k in range(1, 21))})
    axis = [d for d in axis if 0.008 <= d < 0.13]
    source_plots.lines(
        {
            "networks, joint entropy": [(f.distortion, f.joint) for f in best],
            "networks, coded": [(f.distortion, f.coded) for f in best],
            "Karhunen–Loève, coded": [(f.distortion, f.coded) for f in linear],
        },
        output / "sources_sawbridge.webp",
        ("mean squared error", "bits"),
        "The sawbridge",
        {
            "best quantizer": [(d, sources.sawbridge_entropy(d)) for d in axis],
            "Gaussian water-filling": [(d, sources.sawbridge_water_filling(d)) for d in axis],
        },
        logarithmic="xy",
        joined=False,
    )
    header = ("sawbridge, λ", "MSE", "joint entropy", "above the optimum there", "worst seed")
    header += ("cost above the least", "bits coded")
    for d, optimum, water in zip(DISTORTIONS, OPTIMUM, WATER):
        value, level = sources.sawbridge_entropy(d), sources.sawbridge_water_filling(d)
        found.append(Gate(f"optimum at {d:g}, bits", value, 0.99 * optimum, 1.01 * optimum))
        found.append(Gate(f"water-filling at {d:g}, bits", level, 0.99 * water, 1.01 * water))
    known = table(
        ("at a mean squared error of", *map(str, DISTORTIONS)),
        [
            ("optimum, bits", *map(sources.sawbridge_entropy, DISTORTIONS)),
            ("Gaussian water-filling", *map(sources.sawbridge_water_filling, DISTORTIONS)),
        ],
    )
    transform = table(
        ("Karhunen–Loève, λ", "MSE", "bits, coded", "Gaussian water-filling there"),
        [
            (f"{lmbda:g}", f.distortion, f.coded, sources.sawbridge_water_filling(f.distortion))
            for lmbda, f in zip(KLT_RATES, linear)
        ],
    )
    return "\n\n".join([table(header, rows), known, transform]), found


def circle(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """How far networks of several sizes stay above equal arcs."""
    cells = sources.circle_cells(CIRCLE_LMBDA)
    optimum = sources.circle_cost(CIRCLE_LMBDA, cells)
    rows, coded, joint = [], [], []
    for width in WIDTHS:
        (outcome,) = train(f"circle-{width}", "circle", hidden=(width, width))
        f = outcome.figures
        coded.append((width, f.cost(CIRCLE_LMBDA) - optimum))
        joint.append((width, f.joint + CIRCLE_LMBDA * f.distortion - optimum))
        rows.append((width, f.bits, f.joint, f.distortion, coded[-1][1], joint[-1][1]))
    source_plots.lines(
        {"as coded": coded, "if coded jointly": joint},
        output / "sources_circle.webp",
        (
            "units in each of the two hidden layers",
            f"bits + {CIRCLE_LMBDA:g}·SSE above the optimum",
        ),
        f"A circle: networks above {cells} equal arcs",
        logarithmic="x",
    )
    header = ("circle, units", "bits", "joint entropy", "SSE", "above equal arcs", "if joint")
    return table(header, rows), []


PARTS: dict[str, Callable[[Trainings, pathlib.Path], tuple[str, list[Gate]]]] = {
    "banana": banana,
    "rates": rates,
    "sawbridge": sawbridge,
    "circle": circle,
}
