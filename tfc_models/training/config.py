"""What a training run is: one dataclass, filled in by the files in tfc_models/training/configs."""

from __future__ import annotations

import ast
import dataclasses
import math
import runpy
from typing import Any

from tfc_models import zoo
from tfc_models.metrics import METRICS
from tfc_models.metrics.pim import LEARNED
from tfc_models.models.distortion import parsed
from tfc_models.perceptual import (
    PIM_MIN_SIDE,
)
from tfc_models.realism import (
    divergence_named,
)
from tfc_models.training import configs, schedule
from tfc_models.training.crops import PER_IMAGE

OPTIMIZERS = ("adam", "sgd")
SHIFT = 16  # pixels, a latent's, at any of which crops begin for what people see
SCALES = 0.8, 1.6  # likewise, factors
STARTS = ("linear", "random")
CRITICS = ("patch", *LEARNED)
RATES = {
    "transforms": 2e-4,
    "blocks": 6e-4,
    "gains": 1.5e-3,
    "entropy": 1e-3,
    "densities": 4e-3,
}
WAITING = ("transforms", "blocks")
PARTS = ("arguments", "rates", "of_source")  # of which --set changes single entries
_KINDS = {"int": int, "float": (int, float), "str": str}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What all training runs have. Rates of learning are peaks; fractions are of the budget."""

    model: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the model is built with: widths, lambda, distortion, kernel, gdn, …"""

    # The budget: one of the two. `minutes` counts what all runs on the workdir took together.
    steps: int = 0
    minutes: float = 0.0

    batch: int = 8

    optimizer: str = "adam"
    warmup: float = 0.02
    decay: float = 0.5
    """Fraction, at the end, over which the rates fall to `last_rate` times their peak."""
    last_rate: float = 0.02
    clip_norm: float = 1.0
    spike: float = 3.0
    """A step whose loss is so many times the running mean is skipped."""
    average: float = 0.998
    """Decay per step of the moving average of the weights, which is what is kept."""

    log_steps: int = 25
    checkpoint_minutes: float = 3.0
    validation_minutes: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            kind, value = _KINDS.get(str(field.type)), getattr(self, field.name)
            if kind and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ValueError(f"{field.name} is of type {field.type}; got {value!r}.")
        if bool(self.steps) == bool(self.minutes):
            raise ValueError("give the budget as steps or as minutes, one of them.")
        if self.optimizer not in OPTIMIZERS:
            choices = ", ".join(OPTIMIZERS)
            raise ValueError(f"optimizer is one of {choices}; got {self.optimizer!r}.")
        for name in ("batch", "log_steps", "clip_norm", "spike"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0; got {getattr(self, name)}.")
        for name in ("head_start", "warmup", "decay", "last_rate", "average"):
            if not 0.0 <= getattr(self, name, 0.0) <= 1.0:
                raise ValueError(f"{name} is a fraction, 0 to 1; got {getattr(self, name)}.")

    @property
    def identity(self) -> dict[str, Any]:
        """What a run cannot go on with another of."""
        return {"model": self.model, "optimizer": self.optimizer, **self.arguments}

    @property
    def schedule(self) -> dict[str, Any]:
        """What `tfc_models.training.schedule` makes rates of learning of."""
        raise NotImplementedError

    def learning_rates(self, fraction: float) -> dict[str, float]:
        """Of each kind of variable, at a fraction of the budget."""
        return schedule.learning_rates(fraction, **self.schedule)


@dataclasses.dataclass(frozen=True)
class ImageConfig(RunConfig):
    """A run that learns from crops of pictures."""

    crop: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop <= 0 or self.crop % 16:
            raise ValueError(f"crop is a multiple of 16, above 0; got {self.crop}.")


@dataclasses.dataclass(frozen=True)
class CodingConfig(ImageConfig):
    """A run of what codes pictures, or decodes them."""

    downscale: float = 2.0
    """Half of the crops are scaled down by a random factor up to this one."""
    crops_per_image: int = PER_IMAGE
    """Crops of a decoded image before another one takes its place. More suit a folder that is too
    large for the caches; datasets of TFDS always have one."""
    cache_gigabytes: float = 8.0
    """Disk space for decoded images (see tfc_models.training.pixel_cache); 0: none."""
    bfloat16: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.downscale < 1.0:
            raise ValueError(f"downscale is 1 or more; got {self.downscale}.")
        if self.crops_per_image < 1:
            raise ValueError(f"crops_per_image is 1 or more; got {self.crops_per_image}.")
        if not 0.0 <= self.cache_gigabytes < math.inf:
            raise ValueError(f"cache_gigabytes is 0 or more; got {self.cache_gigabytes}.")


@dataclasses.dataclass(frozen=True)
class Config(CodingConfig):
    """A training run of a compression model."""

    start: str = "linear"
    """linear (see tfc_models.training.linear_start), random, or the path of a weights file."""
    rates: dict[str, float] = dataclasses.field(default_factory=lambda: dict(RATES))
    """Rate of learning of each kind of variable; 0: not trained."""
    head_start: float = 0.0
    """Fraction during which the transforms wait for the entropy model."""
    validation_rates: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0, 100.0)
    """Where a model of many rates is validated; others have one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start not in STARTS and not self.start.endswith(".npz"):
            raise ValueError(f"start is linear, random or a weights file; got {self.start!r}.")
        if sorted(self.rates) != sorted(RATES):
            raise ValueError(f"rates are of {', '.join(RATES)}; got {', '.join(self.rates)}.")
        for name, rate in self.rates.items():
            if not isinstance(rate, (int, float)) or not 0.0 <= rate < math.inf:
                raise ValueError(f"rates.{name} is a number, 0 or more; got {rate!r}.")
        if not any(self.rates.values()):
            raise ValueError("rates are all 0: there is nothing to train.")
        if not all(0.0 <= rate <= 100.0 for rate in self.validation_rates):
            raise ValueError(f"validation_rates are 0 to 100; got {self.validation_rates}.")

    @property
    def schedule(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "peaks": self.rates,
            "waiting": WAITING,
            "head_start": self.head_start,
            "warmup": self.warmup,
            "decay": self.decay,
            "last_rate": self.last_rate,
        }


@dataclasses.dataclass(frozen=True)
class PimTraining(ImageConfig):
    """A training run of PIM's or PIM-bands' encoders (see training.pim)."""

    rate: float = 1e-3
    start: str = ""
    """A weights file to begin with, or "shipped"; without one, random weights."""
    bfloat16: str = "off"
    """Convolutions of pim in bfloat16: on, off or auto (only where it pays)."""
    window: int = 0
    """Side of the middle part of each band of pim that is encoded; 0: whole bands."""
    order: float = 0.0
    """Weight of the ranking loss on overlays (see tfc_models.training.overlays); pim-bands only."""
    margin: float = 0.03
    """By how much more, at least, as a logarithm."""
    gap: tuple[float, float] = (0.05, 0.25)
    """Seconds between the frames of a pair, from and to, where pairs are chosen here."""
    motion: tuple[float, float] = (1.0, 45.0)
    """Mean absolute difference of their pixels, from and to."""
    every: float = 2.0
    """Seconds between the pairs of a video."""
    side: int = 240
    """What a video's short side is scaled down to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop < PIM_MIN_SIDE:
            raise ValueError(f"crop is {PIM_MIN_SIDE} or more; got {self.crop}.")
        if self.every <= 0.0 or self.side < self.crop:
            raise ValueError("every is above 0, and side at least the crop.")
        if self.batch < 2:
            raise ValueError("batch is 2 or more: pairs are told apart from one another.")
        if self.order and self.batch < 3:
            raise ValueError("batch is 3 or more with order: every other picture is veiled.")
        if self.order and self.model == "pim":
            raise ValueError("order is no part of the published pim: set order=0 or pim-bands.")
        if self.model != "pim" and (self.bfloat16 != "off" or self.window):
            raise ValueError(f"bfloat16 and window are for pim; leave them out for {self.model}.")
        if self.window < 0:
            raise ValueError(f"window is 0 or more; got {self.window}.")
        check_rate(self.rate)
        for name in ("order", "margin"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is 0 or more; got {getattr(self, name)}.")
        for name in ("gap", "motion"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0.0 <= limits[0] <= limits[1]:
                raise ValueError(f"{name} is two numbers, from and to; got {limits}.")

    @property
    def schedule(self) -> dict[str, Any]:
        """See the base class."""
        return schedule_of({"encoders": self.rate}, self)


@dataclasses.dataclass(frozen=True)
class AdversarialConfig(CodingConfig):
    """A run that may have a critic (see tfc_models.training.adversarial)."""

    rate: float = 1e-4
    critic_rate: float = 1e-4
    head_start: float = 0.0
    """Fraction of the budget during which only the critic learns."""
    adversarial: float = 0.0
    """Weight of what the critic says; 0: there is none."""
    divergence: str = "gan"
    """One of tfc_models.perceptual.DIVERGENCES."""
    critic: str = "patch"
    """Input of the critic: pixels and latents (patch), or distributions (pim, pim-bands)."""
    critic_widths: tuple[int, ...] = (64, 128, 256, 512)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        check_rate(self.critic_rate)
        divergence_named(self.divergence)
        if self.head_start and not self.adversarial:
            raise ValueError("head_start is the critic's: give adversarial a weight, too.")
        if self.adversarial and self.critic in LEARNED and self.crop < PIM_MIN_SIDE:
            raise ValueError(
                f"crop is {PIM_MIN_SIDE} or more with critic={self.critic}; got {self.crop}."
            )
        if self.critic not in CRITICS:
            raise ValueError(f"critic is one of {', '.join(CRITICS)}; got {self.critic!r}.")
        if not 0.0 <= self.adversarial < math.inf:
            raise ValueError(f"adversarial is 0 or more; got {self.adversarial}.")

    @property
    def identity(self) -> dict[str, Any]:
        """See the base class."""
        critic = [self.critic, *self.critic_widths] if self.adversarial else None
        divergence = self.divergence if self.adversarial else None
        return {**super().identity, "critic": critic, "divergence": divergence}

    @property
    def schedule(self) -> dict[str, Any]:
        """See the base class."""
        peaks = {"model": self.rate, "critic": self.critic_rate}
        waits = {"waiting": ("model",), "head_start": self.head_start}
        return {**schedule_of(peaks, self), **waits}


@dataclasses.dataclass(frozen=True)
class RealismTraining(AdversarialConfig):
    """A training run of a realism decoder (see training.realism)."""

    base: str = "default"
    """The model: a name of the zoo, or the path of published weights."""
    start: str = ""
    """A decoder's file to begin with; without one, the base's own pictures."""
    gamma: float = 4e-3
    """Weight of the squared error."""
    perceptual: str = "lpips"
    """What is weighed with the realism: a metric, or a weighted sum of some."""
    realism: float = 0.0
    """The one realism to train at; 0: all of them."""
    periodic: float = 0.0
    """Weight of what the blocks add that repeats every 8 pixels: grids and weaves."""
    qualities: tuple[float, float] = (0.0, 100.0)
    """Of a model of many rates, those that are trained at, from and to."""
    validation_rates: tuple[float, ...] = (15.0, 30.0, 60.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        least = max(METRICS[name].min_side for name in parsed(self.perceptual))
        least = math.ceil((least + 0.5) / SCALES[0]) + SHIFT - 1
        if self.crop < least:
            raise ValueError(f"crop is {least} or more for {self.perceptual}; got {self.crop}.")
        if not 0.0 <= self.gamma < math.inf:
            raise ValueError(f"gamma is 0 or more; got {self.gamma}.")
        if not 0.0 <= self.periodic < math.inf:
            raise ValueError(f"periodic is 0 or more; got {self.periodic}.")
        if not 0.0 <= self.realism <= 1.0:
            raise ValueError(f"realism is 0 to 1; got {self.realism}.")
        for name in ("qualities", "validation_rates"):
            values = getattr(self, name)
            if not all(0.0 <= value <= 100.0 for value in values):
                raise ValueError(f"{name} are 0 to 100; got {values}.")
        if len(self.qualities) != 2 or self.qualities[0] > self.qualities[1]:
            raise ValueError(f"qualities are two numbers, from and to; got {self.qualities}.")

    @property
    def identity(self) -> dict[str, Any]:
        """See the base class."""
        entry = zoo.entry_of(self.base)
        base = f"{entry.name} {entry.digest}" if entry else self.base
        ours = {"base": base, "perceptual": self.perceptual, "realism": self.realism}
        return {**super().identity, **ours}


@dataclasses.dataclass(frozen=True)
class SourceTraining(RunConfig):
    """A training run of a code for a small source (see training.sources)."""

    source: str = "banana"
    """One of training.sources.SOURCES."""
    of_source: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the source is made with: points, order, width, …"""
    batch: int = 1024
    rate: float = 1e-3
    clip_norm: float = 100.0
    log_steps: int = 1000
    samples: int = 0
    """Drawn to measure with; as many others are what a transform or code vectors begin with. 0:
    400,000, or fewer of many numbers each."""
    curve: tuple[float, ...] = ()
    """Lambdas at which a code for a range of them is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        if self.samples < 0:
            raise ValueError(f"samples are 0 or more; got {self.samples}.")

    @property
    def identity(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().identity, "source": self.source, **self.of_source, "seed": self.seed}

    @property
    def schedule(self) -> dict[str, Any]:
        """See the base class."""
        return schedule_of({"code": self.rate}, self)


def check_rate(rate: float) -> None:
    """Refuses what is no rate of learning."""
    if not 0.0 < rate < math.inf:
        raise ValueError(f"rate is above 0; got {rate}.")


def schedule_of(peaks: dict[str, float], config: RunConfig) -> dict[str, Any]:
    """The schedule of kinds of variables none of which waits."""
    return {
        "peaks": peaks,
        "waiting": (),
        "head_start": 0.0,
        "warmup": config.warmup,
        "decay": config.decay,
        "last_rate": config.last_rate,
    }


def budget(steps: int | None, minutes: float | None) -> list[str]:
    """Returns the changes of a config that set its budget, for `read`."""
    if steps is not None and minutes is not None:
        raise ValueError("give --steps or --minutes, not both.")
    changes = [f"steps={steps}"] if steps is not None else []
    return changes + ([f"minutes={minutes}"] if minutes is not None else [])


def read(name: str, changes: list[str], kind: type[RunConfig] = Config) -> Any:
    """Returns a config with `key=value` changes; `arguments.key=value` is for the model.

    Args:
        name: of a config in tfc_models.training.configs, or the path of a file that sets CONFIG.
        changes: settings to replace.
        kind: class of the config; `RunConfig` for any.

    >>> read("mbt2018_mean", ["minutes=5", "arguments.lmbda=0.02"])
    """
    path = configs.find(name)
    config = runpy.run_path(str(path)).get("CONFIG")
    if not isinstance(config, kind):
        raise ValueError(f"{path} does not set CONFIG to a {kind.__module__}.{kind.__name__}.")
    known = {field.name for field in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    parts = {name: dict(getattr(config, name)) for name in PARTS if name in known}
    for change in changes:
        key, equals, text = change.partition("=")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        whole, dot, part = key.partition(".")
        if equals and dot and whole in parts:
            parts[whole][part] = value
        elif equals and key in known and key not in parts:
            values[key] = value
        else:
            choices = ", ".join(sorted(known))
            raise ValueError(f"--set takes key=value, with a key of {choices}; got {change!r}.")
    if "steps" in values or "minutes" in values:
        values = {"steps": 0, "minutes": 0.0, **values}
    return dataclasses.replace(config, **parts, **values)
