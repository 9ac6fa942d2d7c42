"""A run: steps until the budget is spent, and what is kept and shown on the way."""

from __future__ import annotations

import contextlib
import csv
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tfc_models.models.distortion import parsed
from tfc_models.training import data, identity
from tfc_models.training.phases import Phases
from tfc_models.training.stopping import NOT_NUMBERS, Stopped
from tfc_models.training.trainer import Trainer
from tfc_models.training.validation import Point, Validation, rd_plot

NUMBERS = {"loss": "the loss", "norm": "the loss", "critic_norm": "the critic's loss"}
RECENT = 20  # steps that the speed is the mean of


class Run:
    """Trains in a work folder, which holds all that going on needs.

    Args:
        trainer: what is trained.
        workdir: for checkpoints, weights.npz, TensorBoard's logs and validation.csv.
        source: training pictures (see tfc_models.training.data).
        validation: a folder of whole pictures, or None.
    """

    def __init__(
        self, trainer: Trainer, workdir: pathlib.Path, source: str, validation: str | None
    ) -> None:
        self.phases = Phases()
        self.phases.end("imports and model")
        self.trainer, self.workdir, self.source = trainer, workdir, source
        self.config, self.strategy = trainer.config, trainer.strategy
        resolver = getattr(self.strategy, "cluster_resolver", None)
        self.workers = getattr(self.strategy.extended, "_num_workers", 1)
        self.chief = not resolver or _is_chief(resolver)
        if self.workers > 1 and not self.config.steps:
            raise ValueError("several workers need a budget in steps: their clocks differ.")
        self._manager = tf.train.CheckpointManager(
            trainer.checkpoint, str(workdir / "checkpoints"), max_to_keep=2
        )
        self._validation = self._validation_of(validation) if validation and self.chief else None
        if self._validation:
            self.phases.end("validation images")
        self._signal = 0
        self._waited = 0.0

    def _validation_of(self, source: str) -> Any:
        """What `_validate` asks: PSNR and MS-SSIM, and what else is trained for."""
        model = self.trainer.model
        others = [name for name in parsed(model.distortion) if name not in ("mse", "ms-ssim")]
        return Validation(model, source, self.config.validation_rates, others)

    def restore(self) -> bool:
        """Goes back to the last checkpoint; False if there is none."""
        failure = None
        for path in reversed(self._manager.checkpoints):
            try:
                self.trainer.checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
                failure = f"{path} cannot be read: {_first_line(error)}"
                logging.warning("%s", failure)
            else:
                logging.info("going on from step %d", self.trainer.steps_taken)
                return True
        if failure:
            raise ValueError(f"{failure}. To begin anew, choose another --workdir.")
        return False

    def begin(self, start: Callable[[], None]) -> None:
        """Trains from the last checkpoint, or without one from the weights that `start` sets."""
        if self.restore():
            self.phases.end("checkpoint")
        else:
            start()
            linear = getattr(self.config, "start", "") == "linear"
            self.phases.end("linear start" if linear else "initial weights")
        identity.keep(self.workdir, self.config)  # Not of a run that could not start.
        logging.info("start-up: %s", self.phases)
        self.train()

    def train(self) -> None:
        """Trains until the budget is spent; saves also when it is told to stop."""
        if self._fraction() >= 1.0:
            logging.info("the budget is spent: step %d", self.trainer.steps_taken)
            return
        writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard"))
        times = Phases()
        with self._signals(), self._progress() as show, writer.as_default():
            try:
                self._steps(show)
            except tf.errors.ResourceExhaustedError as error:
                # TensorFlow says so of a full disk as well as of memory.
                raise Stopped(f"out of memory or disk: {_first_line(error)}") from None
            except tf.errors.UnknownError as error:
                raise Stopped(_first_line(error).split("DataError: ")[-1]) from None
        trained = times.end("training")
        self._save()
        times.end("checkpoint")
        with writer.as_default():
            self._validate()
        validated = times.end("final validation")
        logging.info("done: %s", self.workdir / "weights.npz")
        logging.info(
            "finished: %.1f min of training (%.0f s of it waiting for data), %.0f s start-up, "
            "%.0f s validation",
            *(trained / 60.0, self._waited, self.phases.seconds, validated),
        )

    def _steps(self, show: Any) -> None:
        batches = self._batches()
        try:
            self._steps_with(batches, show)
        finally:
            # At the interpreter's end, a pipeline that still runs Python would wait forever.
            del batches

    def _steps_with(self, batches: Iterator[Any], show: Any) -> None:
        trainer, config = self.trainer, self.config
        start, spent_before = time.monotonic(), trainer.seconds_spent
        saved = validated = start
        unusable, window, recent = 0, [], [start]
        while self._fraction() < 1.0:
            asked = time.monotonic()
            batch = next(batches)
            self._waited += time.monotonic() - asked
            rates = config.learning_rates(self._fraction())
            trainer.before_step(self._fraction())
            losses = {k: float(v) for k, v in trainer.train(batch, rates).items()}
            now, step = time.monotonic(), trainer.steps_taken
            trainer.seconds.assign(spent_before + now - start)
            if recent == [start]:
                logging.info("first step, traced and compiled: %.0f s", now - start)
            trainer.after_step(losses)
            wrong = [what for k, what in NUMBERS.items() if not np.isfinite(losses.get(k, 0.0))]
            unusable = unusable + 1 if wrong else 0
            if unusable >= NOT_NUMBERS:
                raise Stopped(
                    f"{wrong[0]} is not a number since step {step - unusable + 1}: lower the "
                    f"learning rate. The last good checkpoint: {self._manager.latest_checkpoint}."
                )
            window = [*window, losses][-config.log_steps :]
            recent = [*recent, now][-RECENT - 1 :]
            if step % config.log_steps == 0:
                means = {k: float(np.mean([w[k] for w in window])) for k in losses}
                means["learning_rate"] = next(iter(rates.values()))
                means["pictures_per_second"] = self._speed(recent)
                self._log(step, means)
            show(self._fraction(), {**losses, "speed": self._speed(recent)})
            if self._signal:
                self._save()
                name = signal.Signals(self._signal).name
                raise Stopped(f"{name}: saved at step {step}.", 128 + self._signal)
            if now - saved > 60.0 * config.checkpoint_minutes and not unusable:
                self._save()
                saved = now
            if self._validation and now - validated > 60.0 * config.validation_minutes:
                self._validate()
                validated = time.monotonic()

    def _speed(self, times: list[float]) -> float:
        """Training pictures a second, over the last steps."""
        elapsed = times[-1] - times[0]
        return self.config.batch * (len(times) - 1) / elapsed if elapsed > 0 else 0.0

    def _fraction(self) -> float:
        """Of the budget, that is spent."""
        if self.config.steps:
            return self.trainer.steps_taken / self.config.steps
        return self.trainer.seconds_spent / (60.0 * self.config.minutes)

    def _batches(self) -> Iterator[Any]:
        config, strategy = self.config, self.strategy
        replicas = strategy.num_replicas_in_sync
        if config.batch % replicas:
            raise ValueError(f"batch {config.batch} does not divide by {replicas} replicas.")
        if self.source.startswith("tfds:"):
            kind = "of the dataset's own order"
        else:
            kind = f"from {len(data.find(self.source))} files"
        logging.info("batches of %d crops %s", config.batch, kind)
        first = self.trainer.steps_taken * config.batch

        def pipeline(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
            worker, workers = 0, 1
            if context is not None:
                worker, workers = context.input_pipeline_id, context.num_input_pipelines
            crops = data.crops_for(config, self.source, first + worker, workers)
            return crops.batch(config.batch // replicas, drop_remainder=True).prefetch(4)

        if replicas == 1:
            return iter(pipeline())
        return iter(strategy.distribute_datasets_from_function(pipeline))

    def _log(self, step: int, means: dict[str, float]) -> None:
        for name, value in means.items():
            tf.summary.scalar(f"training/{name}", value, step=step)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
        logging.info("step %d  %.0f s  %s", step, self.trainer.seconds_spent, shown)

    def _save(self) -> None:
        """A checkpoint and the averaged weights. A full disk leaves the last ones as they are."""
        folder = self.workdir / "checkpoints"
        if not self.chief:
            return
        if not self.trainer.is_finite():
            latest = self._manager.latest_checkpoint
            logging.error("not saved: weights are not numbers. The last good one: %s.", latest)
            return
        before = set(folder.glob("*"))
        try:
            self._manager.save()
            self.trainer.save_weights(self.workdir / "weights.npz")
        except (tf.errors.OpError, OSError) as error:
            latest = tf.train.latest_checkpoint(str(folder))
            for path in set(folder.glob("*")) - before:
                if not latest or not path.name.startswith(f"{pathlib.Path(latest).name}."):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
            raise Stopped(
                f"cannot write to {self.workdir}: {_first_line(error)}. "
                f"The last good checkpoint is {latest}."
            ) from None

    def _validate(self) -> None:
        if not self._validation:
            return
        step = self.trainer.steps_taken
        points, shown = self.trainer.with_average(self._validation.run)
        others = self._validation.others
        rows = [[*point[:-1], *point.others] for point in points]
        self._to_table([*Point._fields[:-1], *others], rows)
        for point in points:
            name = f" at rate {point.rate:g}" if len(points) > 1 else ""
            tf.summary.scalar(f"validation/bpp{name}", point.bpp, step=step)
            tf.summary.scalar(f"validation/psnr{name}", point.psnr, step=step)
            logging.info(
                "validation%s: %.4f bpp  %.3f dB  MS-SSIM %.4f%s",
                *(name, point.bpp, point.psnr, point.ms_ssim),
                "".join(f"  {other} {v:.4f}" for other, v in zip(others, point.others)),
            )
            for other, value in zip(others, point.others):
                tf.summary.scalar(f"validation/{other}{name}", value, step=step)
        for i, picture in enumerate(shown):
            tf.summary.image(f"validation/{i}", picture[None], step=step)
        curve = rd_plot(f"step {step}", points)
        tf.summary.image("validation/rate-distortion", curve[None], step=step)

    def _to_table(self, columns: list[str], found: list[Any]) -> None:
        """Adds rows to validation.csv."""
        table = self.workdir / "validation.csv"
        fresh = not table.exists()
        with table.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if fresh:
                rows.writerow(["step", "seconds", *columns])
            now = self.trainer.steps_taken, round(self.trainer.seconds_spent)
            rows.writerows([[*now, *row] for row in found])

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after its step; a second one ends it at once."""

        def stop(number: int, frame: Any) -> None:
            del frame
            self._signal = number
            signal.signal(number, signal.SIG_DFL)

        before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Any]:
        """A bar on a terminal; elsewhere the log lines are enough."""
        if not sys.stderr.isatty() or not self.chief:
            yield lambda fraction, losses: None
            return
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:.0f} %  {task.description}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=1.0, completed=self._fraction())

            def show(fraction: float, losses: dict[str, float]) -> None:
                text = f"loss {losses['loss']:.3f}  "
                if "bpp" in losses:
                    text += f"{losses['bpp']:.3f} bpp  "
                if "mse" in losses:
                    text += f"{10 * np.log10(255**2 / max(losses['mse'], 1e-9)):.2f} dB  "
                text += f"{losses['speed']:.1f} pictures/s"
                bar.update(task, completed=min(fraction, 1.0), description=text)

            yield show


def _is_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    """Whether this worker keeps what all have trained: the chief, or else the first one."""
    jobs = resolver.cluster_spec().jobs
    if resolver.task_type == "worker":
        return resolver.task_id == 0 and "chief" not in jobs
    return resolver.task_type in (None, "", "chief")


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0]
