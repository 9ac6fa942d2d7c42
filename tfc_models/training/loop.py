"""Training loop: steps until the budget is used up, with checkpoints, validation and logs."""

from __future__ import annotations

import contextlib
import csv
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import tensorflow as tf
from absl import logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tfc_models.models.distortion import parsed
from tfc_models.training import data, run_identity
from tfc_models.training.config import CodingConfig, Config, RunConfig
from tfc_models.training.phases import Phases
from tfc_models.training.stopped import MAX_NONFINITE_STEPS, TrainingStopped
from tfc_models.training.trainer import Trainer
from tfc_models.training.validation import Point, Validation, rd_plot

# Losses that must be finite, and their names in error messages.
FINITE_LOSSES = {"loss": "the loss", "norm": "the loss", "critic_norm": "the critic's loss"}
SPEED_STEPS = 20  # over which the speed is averaged


class Run:
    """Trains in a work folder, which holds everything needed to resume.

    Args:
        trainer: the trainer.
        workdir: folder for checkpoints, weights.npz, TensorBoard's logs and validation.csv.
        source: training images (see tfc_models.training.data).
        validation: validation data for `_build_validation`: a folder of whole images, or None.
    """

    config: RunConfig

    def __init__(
        self, trainer: Trainer, workdir: pathlib.Path, source: str, validation: Any
    ) -> None:
        self.phases = Phases()
        self.phases.end("imports and model")
        self.trainer, self.workdir, self.source = trainer, workdir, source
        self.config, self.strategy = trainer.config, trainer.strategy
        resolver = getattr(self.strategy, "cluster_resolver", None)
        self.workers = getattr(self.strategy.extended, "_num_workers", 1)
        self.chief = not resolver or _is_chief(resolver)
        if self.workers > 1 and not self.config.steps:
            raise ValueError("several workers need a budget in steps, as their clocks differ.")
        self._manager = tf.train.CheckpointManager(
            trainer.checkpoint, str(workdir / "checkpoints"), max_to_keep=2
        )
        self._validation: Any = None
        if validation and self.chief:
            self._validation = self._build_validation(validation)
            self.phases.end("validation images")
        self._signal = 0
        self._data_seconds = 0.0

    def _build_validation(self, source: Any) -> Any:
        """Returns the validation, with PSNR, MS-SSIM and the metrics in the distortion."""
        model = self.trainer.model
        others = [name for name in parsed(model.distortion) if name not in ("mse", "ms-ssim")]
        # Runs with other configs override this method.
        return Validation(model, source, cast(Config, self.config).validation_rates, others)

    def restore(self) -> bool:
        """Restores the last readable checkpoint; returns False if there is none.

        Raises:
            ValueError: there are checkpoints, but none can be read.
        """
        failure = None
        for path in reversed(self._manager.checkpoints):
            try:
                self.trainer.checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
                failure = f"{path} cannot be read: {_first_line(error)}"
                logging.warning("%s", failure)
            else:
                logging.info("resuming from step %d", self.trainer.steps_taken)
                return True
        if failure:
            raise ValueError(f"{failure}. To start over, choose another --workdir.")
        return False

    def begin(self, start: Callable[[], None]) -> None:
        """Trains from the last checkpoint, or, if there is none, from the weights `start` sets."""
        if self.restore():
            self.phases.end("checkpoint")
        else:
            start()
            linear = getattr(self.config, "start", "") == "linear"
            self.phases.end("linear start" if linear else "initial weights")
        run_identity.write(self.workdir, self.config)  # Only of runs that could start.
        logging.info("start-up: %s", self.phases)
        self.train()

    def train(self) -> None:
        """Trains until the budget is used up, then saves and validates.

        Raises:
            TrainingStopped: a signal, divergence, or a lack of memory or disk space ended it.
        """
        if self._fraction() >= 1.0:
            logging.info("the budget is used up: step %d", self.trainer.steps_taken)
            return
        writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard"))
        times = Phases()
        with self._signals(), self._progress() as show, writer.as_default():
            try:
                self._train_steps(show)
            except tf.errors.ResourceExhaustedError as error:
                # TensorFlow also raises this for a full disk.
                raise TrainingStopped(f"out of memory or disk: {_first_line(error)}") from None
            except tf.errors.UnknownError as error:
                raise TrainingStopped(_first_line(error).split("DataError: ")[-1]) from None
        training_seconds = times.end("training")
        self._save()
        times.end("checkpoint")
        with writer.as_default():
            self._validate()
        validation_seconds = times.end("final validation")
        logging.info("done: %s", self.workdir / "weights.npz")
        logging.info(
            "finished: %.1f min of training (%.0f s of it waiting for data), %.0f s start-up, "
            "%.0f s validation",
            *(training_seconds / 60.0, self._data_seconds, self.phases.seconds),
            validation_seconds,
        )

    def _train_steps(self, show: Callable[[float, dict[str, float]], None]) -> None:
        batches = self._batches()
        try:
            self._train_on(batches, show)
        finally:
            # A pipeline that still runs Python at interpreter exit would hang.
            del batches

    def _train_on(
        self, batches: Iterator[Any], show: Callable[[float, dict[str, float]], None]
    ) -> None:
        """Trains on batches until the budget is used up or a signal arrives."""
        trainer, config = self.trainer, self.config
        start, seconds_before = time.monotonic(), trainer.seconds_spent
        saved = validated = start
        nonfinite_steps = 0
        window: list[dict[str, float]] = []
        step_ends = [start]
        while self._fraction() < 1.0:
            requested = time.monotonic()
            batch = next(batches)
            self._data_seconds += time.monotonic() - requested
            rates = config.learning_rates(self._fraction())
            trainer.before_step(self._fraction())
            losses = {k: float(v) for k, v in trainer.train(batch, rates).items()}
            now, step = time.monotonic(), trainer.steps_taken
            trainer.seconds.assign(seconds_before + now - start)
            if step_ends == [start]:
                logging.info("first step, traced and compiled: %.0f s", now - start)
            trainer.after_step(losses)
            nonfinite = [
                name for k, name in FINITE_LOSSES.items() if not np.isfinite(losses.get(k, 0.0))
            ]
            nonfinite_steps = nonfinite_steps + 1 if nonfinite else 0
            if nonfinite_steps >= MAX_NONFINITE_STEPS:
                raise TrainingStopped(
                    f"{nonfinite[0]} has not been finite since step {step - nonfinite_steps + 1}: "
                    "lower the learning rate. The last good checkpoint is "
                    f"{self._manager.latest_checkpoint}."
                )
            window = [*window, losses][-config.log_steps :]
            step_ends = [*step_ends, now][-SPEED_STEPS - 1 :]
            if step % config.log_steps == 0:
                means = {k: float(np.mean([w[k] for w in window])) for k in losses}
                means["learning_rate"] = next(iter(rates.values()))
                # The name of this series in TensorBoard's logs of existing runs.
                means["pictures_per_second"] = self._speed(step_ends)
                self._log(step, means)
            show(self._fraction(), {**losses, "speed": self._speed(step_ends)})
            if self._signal:
                self._save()
                name = signal.Signals(self._signal).name
                raise TrainingStopped(f"{name}: saved at step {step}.", 128 + self._signal)
            if now - saved > 60.0 * config.checkpoint_minutes and not nonfinite_steps:
                self._save()
                saved = now
            if self._validation and now - validated > 60.0 * config.validation_minutes:
                self._validate()
                validated = time.monotonic()

    def _speed(self, step_ends: list[float]) -> float:
        """Returns training images per second, given the times at which recent steps ended."""
        elapsed = step_ends[-1] - step_ends[0]
        return self.config.batch * (len(step_ends) - 1) / elapsed if elapsed > 0 else 0.0

    def _fraction(self) -> float:
        """Returns the fraction of the budget that is used."""
        if self.config.steps:
            return self.trainer.steps_taken / self.config.steps
        return self.trainer.seconds_spent / (60.0 * self.config.minutes)

    def _batches(self) -> Iterator[Any]:
        """Returns an iterator over batches, starting with the next step's."""
        # Runs with other configs override this method.
        config, strategy = cast(CodingConfig, self.config), self.strategy
        replicas = strategy.num_replicas_in_sync
        if config.batch % replicas:
            raise ValueError(f"batch {config.batch} is not divisible by {replicas} replicas.")
        if self.source.startswith("tfds:"):
            origin = "in the dataset's own order"
        else:
            origin = f"from {len(data.find(self.source))} files"
        logging.info("batches of %d crops %s", config.batch, origin)
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
        text = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
        logging.info("step %d  %.0f s  %s", step, self.trainer.seconds_spent, text)

    def _save(self) -> None:
        """Writes a checkpoint and the averaged weights, unless weights are not finite.

        If the disk is full, partial files are removed and the last checkpoint is kept.
        """
        folder = self.workdir / "checkpoints"
        if not self.chief:
            return
        if not self.trainer.is_finite():
            latest = self._manager.latest_checkpoint
            logging.error("not saved: weights are not finite. The last good one is %s.", latest)
            return
        files_before = set(folder.glob("*"))
        try:
            self._manager.save()
            self.trainer.save_weights(self.workdir / "weights.npz")
        except (tf.errors.OpError, OSError) as error:
            latest = tf.train.latest_checkpoint(str(folder))
            for path in set(folder.glob("*")) - files_before:
                if not latest or not path.name.startswith(f"{pathlib.Path(latest).name}."):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
            raise TrainingStopped(
                f"cannot write to {self.workdir}: {_first_line(error)}. "
                f"The last good checkpoint is {latest}."
            ) from None

    def _validate(self) -> None:
        """Validates the averaged weights; writes validation.csv, TensorBoard's logs and the log."""
        if not self._validation:
            return
        step = self.trainer.steps_taken
        points, shown = self.trainer.with_average(self._validation.run)
        others = self._validation.others
        rows = [[*point[:-1], *point.others] for point in points]
        self._append_rows([*Point._fields[:-1], *others], rows)
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
        for i, image in enumerate(shown):
            tf.summary.image(f"validation/{i}", image[None], step=step)
        plot = rd_plot(f"step {step}", points)
        tf.summary.image("validation/rate-distortion", plot[None], step=step)

    def _append_rows(self, columns: list[str], rows: list[Any]) -> None:
        """Appends rows to validation.csv."""
        path = self.workdir / "validation.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["step", "seconds", *columns])
            progress = self.trainer.steps_taken, round(self.trainer.seconds_spent)
            writer.writerows([[*progress, *row] for row in rows])

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Lets SIGTERM and SIGINT end the run after the current step, and at once if repeated."""

        def stop(number: int, frame: Any) -> None:
            del frame
            self._signal = number
            signal.signal(number, signal.SIG_DFL)

        previous = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _progress(self) -> Iterator[Callable[[float, dict[str, float]], None]]:
        """Shows a progress bar on a terminal; yields a function that updates it."""
        if not sys.stderr.isatty() or not self.chief:
            yield lambda fraction, losses: None
            return
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:.0f} %  {task.description}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=1.0)
            bar.update(task, completed=self._fraction())

            def show(fraction: float, losses: dict[str, float]) -> None:
                text = f"loss {losses['loss']:.3f}  "
                if "bpp" in losses:
                    text += f"{losses['bpp']:.3f} bpp  "
                if "mse" in losses:
                    text += f"{10 * np.log10(255**2 / max(losses['mse'], 1e-9)):.2f} dB  "
                text += f"{losses['speed']:.1f} images/s"
                bar.update(task, completed=min(fraction, 1.0), description=text)

            yield show


def _is_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    """Returns whether this worker writes the files: the chief, or else the first worker."""
    jobs = resolver.cluster_spec().jobs
    if resolver.task_type == "worker":
        return resolver.task_id == 0 and "chief" not in jobs
    return resolver.task_type in (None, "", "chief")


def _first_line(error: Exception) -> str:
    text = getattr(error, "message", None) or str(error)
    return text.strip().splitlines()[0]
