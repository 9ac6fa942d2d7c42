"""Comparison of all codes of small sources to the optimum: tables, figures and gates."""

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
from tfc_models.training.source_codes import Outcome, train_and_measure

LMBDA = 8.0
RATES = (1.0, 3.0, 8.0, 32.0)
SOFT, LLOYD = "banana-networks-soft-rounding", "banana-code-vectors-Lloyd"
SAWBRIDGE_RATES, SEEDS = (20.0, 50.0, 100.0), (0, 1, 2)
SAWBRIDGE_GATE = 0.05
OPTIMUM, WATER_FILLING = (1.81, 3.09, 4.07), (3.17, 11.27, 25.4)  # bits at DISTORTIONS
COPIED_PLOTS = {  # plots of single trainings for the documentation
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
    """Range of a figure within which a result is accepted."""

    name: str
    value: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether the value is in the range."""
        return self.low <= self.value <= self.high


class Trainings:
    """Trains configs in subfolders of a folder.

    Args:
        workdir: the folder.
        share: fraction of the configs' steps.
        samples: number of samples for measuring; None for the configs'.
    """

    def __init__(self, workdir: pathlib.Path, share: float = 1.0, samples: int | None = None):
        self.workdir, self.share, self.samples = workdir, share, samples

    def __call__(self, name: str, config_name: str, **changes: Any) -> list[Outcome]:
        """Trains and measures a config.

        Args:
            name: of the subfolder.
            config_name: of the config.
            **changes: of the model's arguments; `seed` is the config's.
        """
        config: SourceTraining = configs.read(config_name, [], SourceTraining)
        seed = changes.pop("seed", config.seed)
        config = dataclasses.replace(
            config,
            arguments={**config.arguments, **changes},
            steps=max(1, round(config.steps * self.share)),
            samples=self.samples or config.samples,
            seed=seed,
        )
        logging.info("%s: %d steps", name, config.steps)
        return train_and_measure(config, self.workdir / name)


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns a Markdown table; floats have three decimals."""

    def cell(value: Any) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    header = list(header)
    lines = [header, ["---"] * len(header), *(map(cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gate_table(gates: Iterable[Gate]) -> str:
    """Returns a Markdown table of gates."""
    rows = [
        (g.name, g.value, f"{g.low:.2f} to {g.high:.2f}", "yes" if g.met else "**no**")
        for g in gates
    ]
    return table(("gate", "value", "range", "met"), rows)


def banana(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """Compares codes of the banana source at one lambda; returns the table and gates."""
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
    for name, (published, config, changes) in codes.items():
        (outcome,) = train(f"banana {name}".replace(",", "").replace(" ", "-"), config, **changes)
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
    """Compares variable-rate networks to a network for each rate and to vector quantization."""
    separate, vectors = [], []
    for lmbda in RATES:
        # At the lambda of the other table, its trainings are reused.
        networks, lloyd = f"rates-{lmbda:g}-networks", f"rates-{lmbda:g}-lloyd"
        in_other_table = lmbda == LMBDA
        separate += train(SOFT if in_other_table else networks, "banana", lmbda=lmbda)
        vectors += train(LLOYD if in_other_table else lloyd, "banana_lloyd", lmbda=lmbda)
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
    source_plots.plot_lines(
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
    """Compares networks to the optimum, and the KLT to the bound for a Gaussian source."""
    rows, gates, best = [], [], []
    for lmbda in SAWBRIDGE_RATES:
        trials = [
            train(f"sawbridge-{lmbda:g}-{seed}", "sawbridge", lmbda=lmbda, seed=seed)[0].figures
            for seed in SEEDS
        ]
        # The best seed has the lowest cost. The smallest gap would select a code at zero rate,
        # which is on the optimal curve.
        figures = min(trials, key=lambda f: f.joint + lmbda * f.distortion)
        gaps = [f.joint - sources.sawbridge_entropy(f.distortion) for f in trials]
        gap = gaps[trials.index(figures)]
        best.append(figures)
        cells = sources.sawbridge_cells(lmbda)
        minimum = math.log2(cells) + lmbda / (6 * cells)
        cost = figures.joint + lmbda * figures.distortion - minimum
        values = (figures.distortion, figures.joint, gap, max(gaps), cost, figures.coded)
        rows.append((f"{lmbda:g}", *values))
        name = f"sawbridge, λ = {lmbda:g}: "
        gates.append(Gate(f"{name}bits above the optimum", gap, -0.02, SAWBRIDGE_GATE))
        expected = math.log2(cells)
        gates.append(Gate(f"{name}bits", figures.joint, 0.8 * expected, 1.2 * expected))
    linear = [
        train(f"sawbridge-klt-{lmbda:g}", "sawbridge_klt", lmbda=lmbda)[0].figures
        for lmbda in KLT_RATES
    ]
    axis = sorted({*(0.008 * 1.03**i for i in range(95)), *(1 / (6 * k) for k in range(1, 21))})
    axis = [d for d in axis if 0.008 <= d < 0.13]
    source_plots.plot_lines(
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
    for d, optimum, water in zip(DISTORTIONS, OPTIMUM, WATER_FILLING):
        value, level = sources.sawbridge_entropy(d), sources.sawbridge_water_filling(d)
        gates.append(Gate(f"optimum at {d:g}, bits", value, 0.99 * optimum, 1.01 * optimum))
        gates.append(Gate(f"water-filling at {d:g}, bits", level, 0.99 * water, 1.01 * water))
    theory = table(
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
    return "\n\n".join([table(header, rows), theory, transform]), gates


def circle(train: Trainings, output: pathlib.Path) -> tuple[str, list[Gate]]:
    """Compares networks of several sizes to the quantization of a circle into equal arcs."""
    cells = sources.circle_cells(CIRCLE_LMBDA)
    optimum = sources.circle_cost(CIRCLE_LMBDA, cells)
    rows, coded, joint = [], [], []
    for width in WIDTHS:
        (outcome,) = train(f"circle-{width}", "circle", hidden=(width, width))
        f = outcome.figures
        coded.append((width, f.cost(CIRCLE_LMBDA) - optimum))
        joint.append((width, f.joint + CIRCLE_LMBDA * f.distortion - optimum))
        rows.append((width, f.bits, f.joint, f.distortion, coded[-1][1], joint[-1][1]))
    source_plots.plot_lines(
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
