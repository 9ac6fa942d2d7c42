"""What realism costs at a rate: a decoder for each γ, the curve that they make, and its knee.

    python -m training.experiments.realism_curve --config realism --steps 300 \
        --workdir OUT --data IMAGES --validation OTHER_IMAGES --figure docs/realism_curve.webp

Analysis and entropy model stand still, and so do the files. Each decoder minimizes γ · squared
error + what people see (the config's `perceptual`), at realism 1; all begin as the base's own
decoder, which is that of γ → ∞, and see the same crops. After chapter 4.1 of Kirmemis' thesis: the
γ to take is that of the knee, beyond which either costs a lot.

There is one decoder for each γ, trained over all qualities between the least and the largest that
are asked for, and measured at each: its gates depend on the quality anyhow, and one for each would
take so many times as long. Kill it at any time: the same command goes on where the last checkpoint
was, and further gammas are trained beside those that are there. Prints a table for each quality,
and writes OUT/curve.csv.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import flags, logging

from tfc_models import metrics, models, zoo
from tfc_models.cli import absl_programs
from tfc_models.codec import Codec
from tfc_models.metrics import METRICS
from tfc_models.models.distortion import distortions, parsed, prepare
from tfc_models.realism import RealismDecoder, decoder_file
from tfc_models.training import data, identity, image_run
from tfc_models.training.config import RealismTraining
from tfc_models.training.realism import RealismRun, RealismTrainer, base_of
from tfc_models.training.validation import RGB_IMAGE
from training.experiments import realism_curve_table as tables
from training.experiments.realism_curve_table import PERCEPTION, Panel, Point

_GAMMAS = flags.DEFINE_list(
    "gammas", ["0", "1e-3", "3e-3", "1e-2", "3e-2", "0.1"], "weights of the squared error"
)
_QUALITIES = flags.DEFINE_list(
    "qualities", None, "rates; by default 15 and 40, of a model of one rate none"
)
_JUDGES = flags.DEFINE_list("judges", ["pim-bands", "ms-ssim"], "metrics that are not trained for")
_OUTPUT = flags.DEFINE_string("figure", None, "a picture of it, WebP")

SETTINGS = "curve.json"
# What --set cannot give: each curve has many of the first, and the others do nothing here.
OTHERS = {
    "gamma": "--gammas has them",
    "qualities": "--qualities has them",
    "validation_rates": "--qualities has them",
    "realism": "a curve's decoders are trained at realism 1",
    "validation_minutes": "there is one validation, at the end",
    "minutes": "all decoders take as many steps",
}
# What may change from run to run.
FREE = ("gamma", "log_steps", "checkpoint_minutes", *OTHERS)


def checked_gammas(texts: Sequence[str]) -> list[float]:
    """From the largest, if they are weights."""
    said = ",".join(texts)
    try:
        gammas = [float(text) for text in texts]
    except ValueError:
        raise ValueError(f"--gammas are numbers; got {said}.") from None
    if not all(0.0 <= gamma < math.inf for gamma in gammas):
        raise ValueError(f"--gammas are 0 or more, and finite; got {said}.")
    if len({tables.shown(gamma) for gamma in gammas}) != len(gammas):
        raise ValueError(f"--gammas are different numbers; got {said}.")
    if len(gammas) < 3:
        raise ValueError(f"a knee needs three --gammas or more; got {said}.")
    return sorted(gammas, reverse=True)


def checked_qualities(texts: Sequence[str] | None, base: models.CompressionModel) -> list[int]:
    """Of a model of many rates, some of them; of another, none."""
    if not base.many_rates:
        if texts is not None:
            raise ValueError(f"{base.name} has one rate: it takes no --qualities.")
        return []
    texts = ["15", "40"] if texts is None else texts
    found = [int(text) for text in texts if text.isdecimal() and int(text) <= 100]
    if not found or len(set(found)) != len(texts):
        raise ValueError(
            f"--qualities are different whole numbers from 0 to 100; got {','.join(texts)}."
        )
    return found


def checked_judges(names: Sequence[str], terms: Mapping[str, float]) -> list[str]:
    """Metrics that are not trained for."""
    for name in names:
        metrics.named(name)
        if name in ("mse", "psnr", *terms) or list(names).count(name) > 1:
            raise ValueError(
                f"--judges are metrics that are not trained for, and MSE and PSNR are shown "
                f"anyhow; got {','.join(names)}."
            )
    return list(names)


def checked_images(folder: str | None, names: Sequence[str]) -> list[np.ndarray]:
    """The pictures to measure on, large enough for all of these metrics."""
    if not folder:
        raise ValueError(
            "give --validation, a folder of whole pictures: they are what is measured."
        )
    least = max(METRICS[name].min_side for name in names)
    found = dict(data.whole(folder))
    if not found:
        raise ValueError(f"--validation {folder} has no picture that can be read.")
    for name, pixels in found.items():
        if min(pixels.shape[:2]) < least:
            height, width = pixels.shape[:2]
            raise ValueError(
                f"--validation {name} is {width} × {height}: the metrics need {least} a side."
            )
    return list(found.values())


def shared(config: RealismTraining, changes: Sequence[str]) -> RealismTraining:
    """The config as far as decoders of all γ share it; of `--set`, what has a meaning here."""
    for change in changes:
        if reason := OTHERS.get(change.partition("=")[0]):
            raise ValueError(f"--set {change} has no meaning for a curve: {reason}.")
    if not config.steps:
        raise ValueError(f"give --steps, of each training: {OTHERS['minutes']}.")
    return dataclasses.replace(config, realism=1.0)


def keep_settings(workdir: pathlib.Path, config: RealismTraining) -> None:
    """Says in the work folder what its decoders share; refuses one with other decoders."""
    workdir.mkdir(parents=True, exist_ok=True)
    found = {k: v for k, v in dataclasses.asdict(config).items() if k not in FREE}
    found["qualities"] = config.qualities
    ours, path = json.loads(json.dumps(found)), workdir / SETTINGS
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if changed := sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)):
            raise ValueError(
                f"{workdir} holds a curve with another {', '.join(changed)}: "
                "choose another --workdir."
            )
    path.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")


def trained(
    base: models.CompressionModel,
    known: str,
    config: RealismTraining,
    workdir: pathlib.Path,
    strategy: tf.distribute.Strategy,
) -> pathlib.Path:
    """The file of the decoder for the config's γ, trained if it was not."""
    from training import image_flags  # Which define flags.

    folder = workdir / f"gamma-{tables.shown(config.gamma)}"
    identity.check(folder, config)
    with strategy.scope():
        # All begin alike, and see the same.
        tf.keras.utils.set_random_seed(config.seed)
        trainer = RealismTrainer(RealismDecoder(base, **config.arguments), known, config)
    logging.info("a decoder for γ = %g in %s", config.gamma, folder)
    run = RealismRun(trainer, folder, image_flags.DATA.value, None)
    run.begin(lambda: trainer.start(image_flags.DATA.value))
    # Also of a run that was killed after its last checkpoint, before it wrote them.
    trainer.save_weights(folder / "weights.npz")
    return folder / "weights.npz"


class Measuring:
    """Real files of some pictures, and what decoders make of them.

    Args:
        base: the name or path of the model.
        arguments: what its decoders are built with.
        terms: what they are trained for, weights by metric.
        judges: what else to measure.
    """

    def __init__(
        self, base: str, arguments: dict, terms: Mapping[str, float], judges: Sequence[str]
    ) -> None:
        weights, name = zoo.find(base)
        model = zoo.build_model(weights)
        model.set_bfloat16("off")  # Where it pays differs, and files should not.
        # One for all, that takes the weights of each: so there is one graph.
        self.decoder = RealismDecoder(model, **arguments)
        self.decoder.trainable = False
        self.codec = Codec(model, name, realism=self.decoder)
        self._terms = dict(terms)
        self.names = ["mse", "psnr", PERCEPTION, *judges]
        self._one = tf.function(self._values, input_signature=[RGB_IMAGE] * 2, autograph=False)

    def _values(self, picture: tf.Tensor, decoded: tf.Tensor) -> list[tf.Tensor]:
        seen, _ = distortions(self._terms, picture, decoded)
        judged = (
            seen if n == PERCEPTION else METRICS[n].function(picture, decoded) for n in self.names
        )
        return [tf.reduce_mean(values) for values in judged]

    def take(self, path: pathlib.Path) -> None:
        """The weights of a decoder."""
        found = decoder_file.read(path)
        decoder_file.check(found, self.codec.model.name, self.codec.digest)
        self.decoder.assign_state(found.state)

    def point(self, gamma: float, pictures: Sequence[np.ndarray], files: Sequence[bytes]) -> Point:
        """What the decoder for a γ reaches; for an infinite one, the base's own."""
        rows = []
        for picture, file in zip(pictures, files):
            decoded = self.codec.decompress(file, realism=0.0 if math.isinf(gamma) else 1.0)
            pair = (tf.constant(p[None], tf.float32) for p in (picture, decoded))
            rows.append([float(value) for value in self._one(*pair)])
        return Point(gamma, dict(zip(self.names, np.transpose(rows))))

    def panels(
        self,
        files: Mapping[float, pathlib.Path],
        qualities: Sequence[int | None],
        pictures: Sequence[np.ndarray],
    ) -> list[Panel]:
        """For each quality, what the decoders of these files reach, and the base's own."""
        coded = {q: [self.codec.compress(picture, q) for picture in pictures] for q in qualities}
        points = {q: [self.point(math.inf, pictures, coded[q])] for q in qualities}
        for gamma, path in files.items():
            logging.info("measuring γ = %g on %d pictures", gamma, len(pictures))
            self.take(path)
            for q in qualities:
                points[q].append(self.point(gamma, pictures, coded[q]))
        areas = [picture.shape[0] * picture.shape[1] for picture in pictures]
        return [
            Panel(
                q,
                float(np.mean([8.0 * len(f) / a for f, a in zip(coded[q], areas)])),
                sum(map(len, coded[q])),
                points[q],
            )
            for q in qualities
        ]


def curve() -> None:
    """As the flags say."""
    from training import image_flags, run_flags  # Which define flags.

    config = shared(run_flags.configured(RealismTraining), run_flags.SET.value)
    gammas, terms = checked_gammas(_GAMMAS.value), parsed(config.perceptual)
    judges = checked_judges(_JUDGES.value, terms)
    output = pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and (output.suffix != ".webp" or not output.parent.is_dir()):
        raise ValueError(f"a figure is a .webp in a folder that there is; got {output}.")
    prepare({**terms, **dict.fromkeys(judges, 1.0)})
    image_run.check_apart(image_flags.DATA.value, image_flags.VALIDATION.value)
    pictures = checked_images(image_flags.VALIDATION.value, ["mse", *terms, *judges])
    strategy = image_run.strategy_of(image_flags.STRATEGY.value)
    with strategy.scope():
        base, known = base_of(config.base)
        base.set_bfloat16(config.bfloat16)
    if config.model != base.name:
        raise ValueError(f"the config is for {config.model}; {config.base} is {base.name}.")
    qualities = checked_qualities(_QUALITIES.value, base)
    if qualities:
        ends = float(min(qualities)), float(max(qualities))
        config = dataclasses.replace(config, qualities=ends)
    workdir = run_flags.workdir()
    keep_settings(workdir, config)
    files = {}
    for gamma in gammas:
        of_it = dataclasses.replace(config, gamma=gamma)
        files[gamma] = trained(base, known, of_it, workdir, strategy)
    measuring = Measuring(config.base, config.arguments, terms, judges)
    panels = measuring.panels(files, qualities or [None], pictures)
    tables.write(panels, workdir / "curve.csv")
    for panel in panels:
        print(tables.table_of(panel, config.perceptual) + "\n")
    if output:
        tables.draw(panels, config.perceptual, output)


if __name__ == "__main__":
    from training import image_flags, run_flags  # Which define flags.

    absl_programs.run(curve, run_flags, image_flags)
