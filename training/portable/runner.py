"""Trains with an exported step. Needs only jax, numpy and Pillow.

    python STEP_DIR/runner.py --data IMAGES --workdir OUT --minutes 60

All other files are in STEP_DIR. It can be interrupted at any time: the same command resumes from
the last checkpoint, with the crops and the noise that would have come next. OUT/checkpoint.npz
contains all values by name, OUT/losses.csv mean losses.

Exit codes: 0: the budget is used up. 75: --limit_minutes ended the run, which was saved. 128 + n:
signal n ended the run, which was saved. 1: an error, described in one line.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import csv
import functools
import itertools
import logging
import math
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import compiled_step
import crops
import device_crops
import image_files
import jax
import numpy as np
import schedule
import split_files
import values
from stopped import MAX_NONFINITE_STEPS, TrainingStopped

PREFETCHED_CALLS = 3  # whose crops are prepared while a call runs
SPEED_CALLS = 20  # over which the speed is averaged
UNFINISHED = 75  # exit code
AVERAGE = "average.npz"


def batches(
    examples: crops.Crops, batch: int, first: int, sizes: Iterator[int], threads: int
) -> Iterator[np.ndarray]:
    """Yields the crops of each call, steps × batch × height × width × 3, from step `first` on."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:

        def begin(step: int, steps: int) -> list[concurrent.futures.Future]:
            numbers = range(step * batch, (step + steps) * batch)
            return [pool.submit(examples.crop, n) for n in numbers]

        pending: collections.deque[list[concurrent.futures.Future]] = collections.deque()
        try:
            for steps in itertools.chain(sizes, itertools.repeat(0)):
                if steps:
                    pending.append(begin(first, steps))
                    first += steps
                if len(pending) > PREFETCHED_CALLS or not steps:
                    if not pending:
                        return
                    stacked = np.stack([f.result() for f in pending.popleft()])
                    yield stacked.reshape(-1, batch, *stacked.shape[1:])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def step_numbers(first: int, sizes: Iterator[int]) -> Iterator[np.ndarray]:
    """Yields the numbers of the steps of each call, from step `first` on."""
    for steps in sizes:
        yield np.arange(first, first + steps, dtype=np.uint32)
        first += steps


class Run:
    """Trains until the budget is used up; `workdir` contains everything needed to resume."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags, self.workdir = flags, pathlib.Path(flags.workdir)
        folder = pathlib.Path(flags.step)
        self.manifest = values.read_manifest(folder)
        self.settings = self.manifest["run"]
        if flags.steps or flags.minutes:
            self.settings.update(steps=flags.steps or 0, minutes=flags.minutes or 0.0)
        self.schedule = _schedule_of(self.manifest["schedule"], flags)
        self.log_steps = flags.log_steps or self.settings["log_steps"]
        self.call = self._call_of(folder)
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.workdir / "checkpoint.npz"
        self.seconds = 0.0
        initial = self._restored(folder)
        self.step = int(initial["step"])
        variables = self.manifest["inputs"][compiled_step.NON_STATE_INPUTS :]
        self.changing = [x["name"] for x in variables if x["output"] is not None]
        self.fixed_values = {
            x["name"]: initial[x["name"]] for x in variables if x["output"] is None
        }
        self.state = [jax.device_put(initial[n]) for n in self.changing]
        self.constants = [jax.device_put(v) for v in self.fixed_values.values()]
        self._signal = self._nonfinite_steps = 0
        self._window: list[np.ndarray] = []
        self._calls: dict[int, Any] = {}
        self._ends: collections.deque[tuple[float, int]] = collections.deque(maxlen=SPEED_CALLS)

    def _call_of(self, folder: pathlib.Path) -> Callable[..., Any]:
        artifact = folder / "step.stablehlo"
        if not artifact.exists():
            raise FileNotFoundError(f"no {artifact} yet: run {folder / 'convert.py'} first.")
        step = compiled_step.build_exported(artifact.read_bytes(), self.manifest)
        run, cut = self.settings, None
        if self.flags.crops == "device":
            shape = {"batch": run["batch"], "side": run["crop"], "downscale": run["downscale"]}
            cut = functools.partial(device_crops.cut, seed=run["seed"], **shape)
        return compiled_step.build_call(step, self.manifest, cut)

    def _restored(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        """Returns the values of the checkpoint, or, if there is none, the initial values."""
        if not self.checkpoint.exists():
            return values.initial(folder, self.manifest)
        content = self.checkpoint.read_bytes()
        state, meta = values.read_checkpoint(self.checkpoint, content, self.manifest["digest"])
        crops_option = meta.get("crops", "host")  # Earlier versions had no other option.
        if crops_option != self.flags.crops:
            raise ValueError(
                f"{self.checkpoint} is of a run with --crops={crops_option}: use that again, or "
                "choose another --workdir."
            )
        self.seconds = meta["seconds"]
        say(f"resuming from step {int(state['step'])}")
        return state

    def save(self) -> None:
        """Writes the checkpoint atomically, so that a full disk does not destroy the last one."""
        current = {n: np.asarray(v) for n, v in zip(self.changing, self.state)}
        try:
            content = values.checkpoint_bytes({**self.fixed_values, **current}, self._meta())
            values.write(self.checkpoint, content)
        except OSError as error:
            raise TrainingStopped(f"cannot write {self.checkpoint}: {error}.") from None

    def _meta(self) -> dict[str, Any]:
        digest = self.manifest["digest"]
        return {"digest": digest, "seconds": self.seconds, "crops": self.flags.crops}

    def _finish(self) -> None:
        """Writes the checkpoint, and the pieces for --split_mebibytes."""
        self.save()
        if not self.flags.split_mebibytes:
            return
        averages = {
            n: np.asarray(v) for n, v in zip(self.changing, self.state) if n.startswith("average/")
        }
        limit = int(self.flags.split_mebibytes * 2**20)
        path = self.workdir / AVERAGE
        try:
            pieces = split_files.write(path, values.checkpoint_bytes(averages, self._meta()), limit)
        except OSError as error:
            raise TrainingStopped(f"cannot write {path}: {error}.") from None
        say(f"{path}: {len(pieces)} pieces of at most {self.flags.split_mebibytes:g} MiB")

    def fraction(self, step: int) -> float:
        """Returns the fraction of the budget that is used at a step."""
        if self.settings["steps"]:
            return step / self.settings["steps"]
        return self.seconds / (60.0 * self.settings["minutes"])

    def _sizes(self) -> Iterator[int]:
        """Yields the number of steps of each call."""
        steps_per_call = self.flags.steps_per_call or self.settings["steps_per_call"]
        remaining = self.settings["steps"] - self.step if self.settings["steps"] else None
        while remaining is None or remaining > 0:
            yield steps_per_call if remaining is None else min(steps_per_call, remaining)
            remaining = None if remaining is None else remaining - steps_per_call

    def _rates(self, steps: int) -> np.ndarray:
        """Returns the learning rates of the next steps, steps × variable groups."""
        rows = [
            schedule.learning_rates(self.fraction(self.step + i), **self.schedule)
            for i in range(steps)
        ]
        return np.array([[r[k] for k in self.manifest["groups"]] for r in rows], np.float32)

    def train(self, began: float) -> None:
        """Trains and saves. `began` is the time at which the process started."""
        if self.fraction(self.step) >= 1.0:
            say(f"the budget is used up: step {self.step}")
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        images, source = self._source()
        try:
            self._steps(images, source, began)
        finally:
            source.close()
        self._finish()
        say(f"done: {self.checkpoint}, step {self.step}")

    def _source(self) -> tuple[Any, Iterator[np.ndarray]]:
        """Returns the images on the device (only for --crops=device), and the rows of each call."""
        run, flags = self.settings, self.flags
        paths = image_files.find(flags.data)
        if flags.crops == "device":
            megapixels = flags.device_megapixels
            images = device_crops.load(
                paths, image_files.read, run["crop"], megapixels, flags.threads
            )
            say(f"{device_crops.summary(images, paths)}, batches of {run['batch']}")
            return images, step_numbers(self.step, self._sizes())
        cache = int(flags.cache_gigabytes * 2**30)
        files = crops.Files(paths, run["crop"], image_files.read, cache)
        say(f"{len(files)} files, batches of {run['batch']}, on {jax.devices()[0]}")
        examples = crops.Crops(files, run["seed"], run["downscale"], run["crops_per_image"])
        return (), batches(examples, run["batch"], self.step, self._sizes(), flags.threads)

    def _steps(self, images: Any, source: Iterator[np.ndarray], began: float) -> None:
        before, start = self.seconds, None
        saved = time.monotonic()
        pending: tuple[int, Any] = (self.step, ())
        while self.fraction(self.step) < 1.0:
            rows = next(source)
            rates = self._rates(len(rows))
            call = self._compiled(self.state, self.constants, images, rows, rates)
            # Compilation and the first batch do not count towards the budget.
            start = start or time.monotonic()
            self.state, losses = call(self.state, self.constants, images, rows, rates)
            # The device runs this call while the losses of the previous one are read.
            self._record(*pending)
            pending = (self.step, losses)
            self.step += len(rows)
            now = time.monotonic()
            self.seconds = before + now - start
            out_of_time = self.flags.limit_minutes and now - began > 60 * self.flags.limit_minutes
            if self._signal or out_of_time:
                break
            due = now - saved > 60.0 * self.settings["checkpoint_minutes"]
            if due and not self._nonfinite_steps:
                self.save()
                saved = now
        self._record(*pending)
        if self.fraction(self.step) < 1.0:
            self._finish()
            if self._signal:
                name = signal.Signals(self._signal).name
                raise TrainingStopped(f"{name}: saved at step {self.step}.", 128 + self._signal)
            raise TrainingStopped(f"out of time: saved at step {self.step}.", UNFINISHED)

    def _compiled(self, *arguments: Any) -> Any:
        """Returns the compiled function for this number of rows."""
        steps = len(arguments[3])
        if steps not in self._calls:
            start = time.monotonic()
            self._calls[steps] = self.call.lower(*arguments).compile()
            say(f"compiled {steps} steps in {time.monotonic() - start:.0f} s")
        return self._calls[steps]

    def _record(self, step: int, losses: Any) -> None:
        """Waits for the losses of the steps after `step` and logs them.

        Raises:
            TrainingStopped: the loss has not been finite for too many steps.
        """
        losses = np.asarray(losses)
        self._ends.append((time.monotonic(), step + len(losses)))
        for i, row in enumerate(losses):
            is_finite = np.isfinite(row[self.manifest["losses"].index("loss")])
            self._nonfinite_steps = 0 if is_finite else self._nonfinite_steps + 1
            if self._nonfinite_steps >= MAX_NONFINITE_STEPS:
                raise TrainingStopped(
                    "the loss has not been finite since step "
                    f"{step + i + 2 - MAX_NONFINITE_STEPS}: lower the learning rate. "
                    f"{self.checkpoint}, if it exists, is from before that step."
                )
            self._window.append(row)
            if (step + i + 1) % self.log_steps == 0:
                means = dict(zip(self.manifest["losses"], np.mean(self._window, axis=0)))
                self._window = []
                self._log(step + i + 1, {k: float(v) for k, v in means.items()})

    def _log(self, step: int, means: dict[str, float]) -> None:
        (first_time, first_step), (last_time, last_step) = self._ends[0], self._ends[-1]
        crop_count = self.settings["batch"] * (last_step - first_step)
        speed = crop_count / max(last_time - first_time, 1e-9)
        row = {"step": step, "seconds": round(self.seconds, 1), **means}
        path = self.workdir / "losses.csv"
        is_new = not path.exists()
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, row)
                if is_new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise TrainingStopped(f"cannot write {path}: {error}.") from None
        text = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
        percent = 100 * min(self.fraction(step), 1.0)
        say(f"{percent:.0f} %  step {step}  {self.seconds:.0f} s  {text}  {speed:.1f} crops/s")

    def _stop(self, number: int, frame: Any) -> None:
        """Ends the run after the current call; a second signal ends it at once."""
        del frame
        self._signal = number
        signal.signal(number, signal.SIG_DFL)


def say(text: str) -> None:
    """Prints a line without buffering."""
    print(text, flush=True)


def _schedule_of(settings: dict[str, Any], flags: argparse.Namespace) -> dict[str, Any]:
    """Returns the export's schedule with the flags' changes."""
    peaks = {kind: rate * flags.rate_scale for kind, rate in settings["peaks"].items()}
    changes = {"warmup": flags.warmup, "decay": flags.decay}
    return {**settings, "peaks": peaks, **{k: v for k, v in changes.items() if v is not None}}


def number(kind: type, minimum: float = 0.0, maximum: float = math.inf, above: bool = True) -> Any:
    """Returns a parser of a flag's number within limits; `above` excludes the minimum."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not minimum <= value <= maximum or math.isinf(value) or (above and value == minimum):
            limits = f"{'above' if above else 'at least'} {minimum:g}"
            limits += f" and at most {maximum:g}" if maximum < math.inf else ""
            raise argparse.ArgumentTypeError(f"must be {limits}; got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse shows it if the text is not a number.
    return parse


def parse_flags() -> argparse.Namespace:
    """Returns the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = str(pathlib.Path(__file__).parent)
    count, positive = number(int), number(float)
    fraction = number(float, 0.0, 1.0, above=False)
    add = parser.add_argument
    add("--data", required=True, help="folder of images, searched recursively")
    add("--workdir", required=True, help="folder for checkpoint.npz and losses.csv")
    add("--step", default=here, help="folder of the exported step (default: this file's folder)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=count, help="budget in steps, instead of the config's")
    budget.add_argument(
        "--minutes", type=positive, help="budget in minutes, instead of the config's"
    )
    add("--limit_minutes", type=positive, help="save and end after this time, whatever the budget")
    add("--steps_per_call", type=count, help="steps per call, instead of the export's")
    add("--log_steps", type=count, help="steps between logs, instead of the config's")
    add("--rate_scale", type=positive, default=1.0, help="factor of all learning rates")
    add("--warmup", type=fraction, help="fraction of the budget, instead of the config's")
    add("--decay", type=fraction, help="fraction of the budget, instead of the config's")
    add(
        "--crops",
        choices=["host", "device"],
        default="host",
        help="host: the crops of training.main, by --threads threads. device: all images are in "
        "the accelerator's memory and cropped there, with other random numbers; not limited by the "
        "host's speed",
    )
    add(
        "--device_megapixels",
        type=number(float, 0.0, device_crops.MAX_PIXELS / 1e6),
        help="capacity for images on the device; folders with equal capacities share a compiled "
        "program (default: what --data needs)",
    )
    add("--compile_cache", help="folder in which compiled programs are stored for later runs")
    add("--threads", type=count, default=os.cpu_count(), help="threads that decode and crop images")
    add(
        "--cache_gigabytes",
        type=number(float, above=False),
        default=4.0,
        help="memory for decoded images, with --crops=host (default: 4)",
    )
    add(
        "--split_mebibytes",
        type=number(float, 0.001, above=False),
        help=f"also write the averaged weights as pieces of {AVERAGE} of at most this size",
    )
    flags = parser.parse_args()
    if flags.device_megapixels and flags.crops != "device":
        parser.error("--device_megapixels is for --crops=device")
    return flags


def main() -> None:
    """Trains with the flags' settings; prints errors in one line."""
    began = time.monotonic()
    flags = parse_flags()
    logging.basicConfig(format="%(message)s")
    jax.config.update("jax_enable_x64", True)  # The step's number is an int64.
    if flags.compile_cache:
        jax.config.update("jax_compilation_cache_dir", flags.compile_cache)
    try:
        Run(flags).train(began)
    except (ValueError, OSError, TrainingStopped, jax.errors.JaxRuntimeError) as error:
        text = str(error).strip().splitlines()[0]
        if "RESOURCE_EXHAUSTED" in text:
            text = "the device does not have enough memory: export a smaller batch"
            text += ", or use --crops=host." if flags.crops == "device" else "."
        print(text, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
