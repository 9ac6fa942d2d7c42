"""Settings of training runs: dataclasses, instantiated in tfc_models/training/configs."""

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
MAX_OFFSET = 16  # pixels, a latent's stride: range of random offsets for perceptual metrics
SCALE_RANGE = 0.8, 1.6  # of random scaling for perceptual metrics
STARTS = ("linear", "random")
CRITICS = ("patch", *LEARNED)
RATES = {
    "transforms": 2e-4,
    "blocks": 6e-4,
    "gains": 1.5e-3,
    "entropy": 1e-3,
    "densities": 4e-3,
}
HEAD_START_WAITING = ("transforms", "blocks")  # groups that are not trained in the head start
DICT_FIELDS = ("arguments", "rates", "of_source")  # whose entries --set changes one by one
_TYPES: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Settings of all training runs. Learning rates are peaks; fractions are of the budget."""

    model: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of the model: widths, lambda, distortion, kernel, gdn, …"""

    # The budget: one of the two. `minutes` is the total of all runs in the work folder.
    steps: int = 0
    minutes: float = 0.0

    batch: int = 8

    optimizer: str = "adam"
    warmup: float = 0.02
    decay: float = 0.5
    """Fraction at the end over which learning rates fall to `last_rate` times their peak."""
    last_rate: float = 0.02
    clip_norm: float = 1.0
    spike: float = 3.0
    """A step is skipped if its loss exceeds the running mean by this factor."""
    average: float = 0.998
    """Decay per step of the moving average of the weights, which is what is saved."""

    log_steps: int = 25
    checkpoint_minutes: float = 3.0
    validation_minutes: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            types, value = _TYPES.get(str(field.type)), getattr(self, field.name)
            if types and (not isinstance(value, types) or isinstance(value, bool)):
                raise ValueError(f"{field.name} must be of type {field.type}; got {value!r}.")
        if bool(self.steps) == bool(self.minutes):
            raise ValueError("give the budget either as steps or as minutes.")
        if self.optimizer not in OPTIMIZERS:
            choices = ", ".join(OPTIMIZERS)
            raise ValueError(f"optimizer must be one of {choices}; got {self.optimizer!r}.")
        for name in ("batch", "log_steps", "clip_norm", "spike"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}.")
        for name in ("head_start", "warmup", "decay", "last_rate", "average"):
            if not 0.0 <= getattr(self, name, 0.0) <= 1.0:
                raise ValueError(f"{name} must be a fraction, 0 to 1; got {getattr(self, name)}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        return {"model": self.model, "optimizer": self.optimizer, **self.arguments}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        raise NotImplementedError

    def learning_rates(self, fraction: float) -> dict[str, float]:
        """Returns the learning rate of each variable group at a fraction of the budget."""
        return schedule.learning_rates(fraction, **self.schedule)


@dataclasses.dataclass(frozen=True)
class ImageConfig(RunConfig):
    """Settings of training on crops of images."""

    crop: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop <= 0 or self.crop % 16:
            raise ValueError(f"crop must be a positive multiple of 16; got {self.crop}.")


@dataclasses.dataclass(frozen=True)
class CodingConfig(ImageConfig):
    """Settings of training compression models and decoders."""

    downscale: float = 2.0
    """Half of the crops are scaled down by a random factor, this one at most."""
    crops_per_image: int = PER_IMAGE
    """Crops taken from a decoded image before it is replaced. Larger values suit folders that do
    not fit into the caches. For TFDS datasets, it is always 1."""
    cache_gigabytes: float = 8.0
    """Disk space for decoded images (see tfc_models.training.pixel_cache); 0 disables the cache."""
    bfloat16: str = "auto"
    """Convolutions in bfloat16: on, off, or auto (only where its gradients are faster, too)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.downscale < 1.0:
            raise ValueError(f"downscale must be 1 or more; got {self.downscale}.")
        if self.crops_per_image < 1:
            raise ValueError(f"crops_per_image must be 1 or more; got {self.crops_per_image}.")
        if not 0.0 <= self.cache_gigabytes < math.inf:
            raise ValueError(f"cache_gigabytes must be 0 or more; got {self.cache_gigabytes}.")


@dataclasses.dataclass(frozen=True)
class Config(CodingConfig):
    """Settings of a training run of a compression model."""

    start: str = "linear"
    """Initial weights: linear (see tfc_models.training.linear_start), random, or the path of a
    weights file."""
    rates: dict[str, float] = dataclasses.field(default_factory=lambda: dict(RATES))
    """Learning rate of each variable group; groups with 0 are not trained."""
    head_start: float = 0.0
    """Fraction of the budget during which only the entropy model is trained."""
    validation_rates: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0, 100.0)
    """Rates at which variable-rate models are validated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start not in STARTS and not self.start.endswith((".npz", ".tfcw")):
            raise ValueError(f"start must be linear, random or a weights file; got {self.start!r}.")
        if sorted(self.rates) != sorted(RATES):
            raise ValueError(f"rates must have {', '.join(RATES)}; got {', '.join(self.rates)}.")
        for name, rate in self.rates.items():
            if not isinstance(rate, (int, float)) or not 0.0 <= rate < math.inf:
                raise ValueError(f"rates.{name} must be a number, 0 or more; got {rate!r}.")
        if not any(self.rates.values()):
            raise ValueError("rates are all 0: there is nothing to train.")
        if not all(0.0 <= rate <= 100.0 for rate in self.validation_rates):
            raise ValueError(f"validation_rates must be 0 to 100; got {self.validation_rates}.")

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return {
            "peaks": self.rates,
            "waiting": HEAD_START_WAITING,
            "head_start": self.head_start,
            "warmup": self.warmup,
            "decay": self.decay,
            "last_rate": self.last_rate,
        }


@dataclasses.dataclass(frozen=True)
class PimTraining(ImageConfig):
    """Settings of a training run of a PIM or PIM-bands encoder (see training.pim)."""

    rate: float = 1e-3
    start: str = ""
    """Initial weights: a weights file, "shipped", or random if empty."""
    bfloat16: str = "off"
    """Convolutions of pim in bfloat16: on, off or auto (only where it is faster)."""
    window: int = 0
    """Side of the central part of each band of pim that is encoded; 0 for whole bands."""
    order: float = 0.0
    """Weight of the ranking loss (see tfc_models.training.fog_overlays); pim-bands only."""
    margin: float = 0.03
    """Minimum difference of log distances in the ranking loss."""
    gap: tuple[float, float] = (0.05, 0.25)
    """Minimum and maximum seconds between the frames of a pair; not for pairs.csv."""
    motion: tuple[float, float] = (1.0, 45.0)
    """Minimum and maximum mean absolute difference of a pair's pixels."""
    every: float = 2.0
    """Seconds between the pairs of a video."""
    side: int = 240
    """Short side to which videos are scaled down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop < PIM_MIN_SIDE:
            raise ValueError(f"crop must be at least {PIM_MIN_SIDE}; got {self.crop}.")
        if self.every <= 0.0 or self.side < self.crop:
            raise ValueError("every must be above 0, and side at least crop.")
        if self.batch < 2:
            raise ValueError("batch must be 2 or more: the loss compares different pairs.")
        if self.order and self.batch < 3:
            raise ValueError("batch must be 3 or more with order: it uses every other image.")
        if self.order and self.model == "pim":
            raise ValueError("order is only for pim-bands: set order=0.")
        if self.model != "pim" and (self.bfloat16 != "off" or self.window):
            raise ValueError(f"bfloat16 and window are for pim; leave them out for {self.model}.")
        if self.window < 0:
            raise ValueError(f"window must be 0 or more; got {self.window}.")
        check_rate(self.rate)
        for name in ("order", "margin"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        for name in ("gap", "motion"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0.0 <= limits[0] <= limits[1]:
                raise ValueError(f"{name} must be a minimum and a maximum; got {limits}.")

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"encoders": self.rate}, self)


@dataclasses.dataclass(frozen=True)
class AdversarialConfig(CodingConfig):
    """Settings of training with an optional critic (see tfc_models.training.adversarial)."""

    rate: float = 1e-4
    critic_rate: float = 1e-4
    head_start: float = 0.0
    """Fraction of the budget during which only the critic is trained."""
    adversarial: float = 0.0
    """Weight of the adversarial loss; 0 for no critic."""
    divergence: str = "gan"
    """Name of a divergence (see tfc_models.realism.divergences)."""
    critic: str = "patch"
    """Input of the critic: pixels and latents (patch), or distributions (pim, pim-bands)."""
    critic_widths: tuple[int, ...] = (64, 128, 256, 512)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        check_rate(self.critic_rate)
        divergence_named(self.divergence)
        if self.head_start and not self.adversarial:
            raise ValueError("head_start is for the critic: set adversarial above 0, too.")
        if self.adversarial and self.critic in LEARNED and self.crop < PIM_MIN_SIDE:
            raise ValueError(
                f"crop must be at least {PIM_MIN_SIDE} with critic={self.critic}; got {self.crop}."
            )
        if self.critic not in CRITICS:
            raise ValueError(f"critic must be one of {', '.join(CRITICS)}; got {self.critic!r}.")
        if not 0.0 <= self.adversarial < math.inf:
            raise ValueError(f"adversarial must be 0 or more; got {self.adversarial}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        critic = [self.critic, *self.critic_widths] if self.adversarial else None
        divergence = self.divergence if self.adversarial else None
        return {**super().identity, "critic": critic, "divergence": divergence}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        peaks = {"model": self.rate, "critic": self.critic_rate}
        waiting = {"waiting": ("model",), "head_start": self.head_start}
        return {**schedule_settings(peaks, self), **waiting}


@dataclasses.dataclass(frozen=True)
class RealismTraining(AdversarialConfig):
    """Settings of a training run of a realism decoder (see training.realism)."""

    base: str = "default"
    """Model whose files are decoded: a name in the zoo, or the path of published weights."""
    start: str = ""
    """Decoder file with the initial weights; if empty, training starts as the base's decoder."""
    gamma: float = 4e-3
    """Weight of the squared error."""
    perceptual: str = "lpips"
    """Perceptual distance, weighted by the realism: a metric, or a weighted sum of metrics."""
    realism: float = 0.0
    """Realism at which all examples are trained; 0 for random values."""
    periodic: float = 0.0
    """Weight of the penalty on patterns with a period of 8 pixels in the blocks' output."""
    qualities: tuple[float, float] = (0.0, 100.0)
    """Minimum and maximum quality in training, for variable-rate models."""
    validation_rates: tuple[float, ...] = (15.0, 30.0, 60.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        minimum = max(METRICS[name].min_side for name in parsed(self.perceptual))
        minimum = math.ceil((minimum + 0.5) / SCALE_RANGE[0]) + MAX_OFFSET - 1
        if self.crop < minimum:
            raise ValueError(
                f"crop must be at least {minimum} for {self.perceptual}; got {self.crop}."
            )
        if not 0.0 <= self.gamma < math.inf:
            raise ValueError(f"gamma must be 0 or more; got {self.gamma}.")
        if not 0.0 <= self.periodic < math.inf:
            raise ValueError(f"periodic must be 0 or more; got {self.periodic}.")
        if not 0.0 <= self.realism <= 1.0:
            raise ValueError(f"realism must be 0 to 1; got {self.realism}.")
        for name in ("qualities", "validation_rates"):
            values = getattr(self, name)
            if not all(0.0 <= value <= 100.0 for value in values):
                raise ValueError(f"{name} must be 0 to 100; got {values}.")
        if len(self.qualities) != 2 or self.qualities[0] > self.qualities[1]:
            raise ValueError(f"qualities must be a minimum and a maximum; got {self.qualities}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        settings = {"perceptual": self.perceptual, "realism": self.realism}
        return {**super().identity, "base": identity_of_base(self.base), **settings}


@dataclasses.dataclass(frozen=True)
class SourceTraining(RunConfig):
    """Settings of a training run of a code for a small source (see training.sources)."""

    source: str = "banana"
    """Name of the source (see tfc_models.training.source_codes.SOURCES)."""
    of_source: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of the source: points, order, width, …"""
    batch: int = 1024
    rate: float = 1e-3
    clip_norm: float = 100.0
    log_steps: int = 1000
    samples: int = 0
    """Number of samples for measuring; as many others initialize transforms and code vectors. 0 for
    400,000, or fewer for sources of many dimensions."""
    curve: tuple[float, ...] = ()
    """Lambdas at which a code for a range of lambdas is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(self.rate)
        if self.samples < 0:
            raise ValueError(f"samples must be 0 or more; got {self.samples}.")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that must not change when a run resumes."""
        return {**super().identity, "source": self.source, **self.of_source, "seed": self.seed}

    @property
    def schedule(self) -> dict[str, Any]:
        """Arguments of `tfc_models.training.schedule.learning_rates`."""
        return schedule_settings({"code": self.rate}, self)


def identity_of_base(name: str) -> str:
    """Returns the name and the digest of a model in the zoo, or the path of other weights."""
    entry = zoo.entry_of(name)
    return f"{entry.name} {entry.digest}" if entry else name


def check_rate(rate: float) -> None:
    """Raises ValueError unless a learning rate is positive and finite."""
    if not 0.0 < rate < math.inf:
        raise ValueError(f"rate must be above 0; got {rate}.")


def schedule_settings(peaks: dict[str, float], config: RunConfig) -> dict[str, Any]:
    """Returns the arguments of the schedule for groups without a head start."""
    return {
        "peaks": peaks,
        "waiting": (),
        "head_start": 0.0,
        "warmup": config.warmup,
        "decay": config.decay,
        "last_rate": config.last_rate,
    }


def budget(steps: int | None, minutes: float | None) -> list[str]:
    """Returns the changes that set a config's budget, for `read`."""
    if steps is not None and minutes is not None:
        raise ValueError("give --steps or --minutes, not both.")
    changes = [f"steps={steps}"] if steps is not None else []
    return changes + ([f"minutes={minutes}"] if minutes is not None else [])


def read(name: str, changes: list[str], kind: type[RunConfig] = Config) -> Any:
    """Returns a config with changes.

    Args:
        name: of a config in tfc_models.training.configs, or the path of a file that sets CONFIG.
        changes: settings to replace, as `key=value`, or `arguments.key=value` for the model's.
        kind: expected class of the config; `RunConfig` for any.

    >>> read("mbt2018_mean", ["minutes=5", "arguments.lmbda=0.02"])
    """
    path = configs.find(name)
    config = runpy.run_path(str(path)).get("CONFIG")
    if not isinstance(config, kind):
        raise ValueError(f"{path} does not set CONFIG to a {kind.__module__}.{kind.__name__}.")
    fields = {field.name for field in dataclasses.fields(config)}
    values: dict[str, Any] = {}
    dicts = {field: dict(getattr(config, field)) for field in DICT_FIELDS if field in fields}
    for change in changes:
        key, equals, text = change.partition("=")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        field_name, dot, entry = key.partition(".")
        if equals and dot and field_name in dicts:
            dicts[field_name][entry] = value
        elif equals and key in fields and key not in dicts:
            values[key] = value
        else:
            choices = ", ".join(sorted(fields))
            raise ValueError(f"--set takes key=value, with a key of {choices}; got {change!r}.")
    if "steps" in values or "minutes" in values:
        values = {"steps": 0, "minutes": 0.0, **values}
    return dataclasses.replace(config, **{**values, **dicts})
