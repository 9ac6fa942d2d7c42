"""Trains an exported step with jax, numpy and Pillow alone.

    python STEP_DIR/runner.py --data IMAGES --workdir OUT --minutes 60

Everything else is in STEP_DIR. Kill it at any time: the same command continues from the last
checkpoint, with the crops and the noise that would have come. OUT/checkpoint.npz holds all values
by name, OUT/losses.csv the means of every few steps.

Exit codes: 0 the budget is spent; 75 --limit_minutes ended it before that; 128 + n signal n
did; both after saving. 1 is an error, described in one line.
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
import pieces
import schedule
import values
from stopping import NOT_NUMBERS, Stopped

AHEAD = 3  # calls whose crops are made while a call runs
RECENT = 20  # calls that the speed is the mean of
UNFINISHED = 75
AVERAGE = "average.npz"


def batches(
    examples: crops.Crops, batch: int, first: int, sizes: Iterator[int], threads: int
) -> Iterator[np.ndarray]:
    """Yields the crops of each call, steps × batch × height × width × 3, from step `first` on."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:

        def begin(step: int, steps: int) -> list[concurrent.futures.Future]:
            numbers = range(step * batch, (step + steps) * batch)
            return [pool.submit(examples.crop, n) for n in numbers]

        under_way: collections.deque[list[concurrent.futures.Future]] = collections.deque()
        try:
            for steps in itertools.chain(sizes, itertools.repeat(0)):
                if steps:
                    under_way.append(begin(first, steps))
                    first += steps
                if len(under_way) > AHEAD or not steps:
                    if not under_way:
                        return
                    made = np.stack([f.result() for f in under_way.popleft()])
                    yield made.reshape(-1, batch, *made.shape[1:])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def step_numbers(first: int, sizes: Iterator[int]) -> Iterator[np.ndarray]:
    """Yields the numbers of the steps of each call, from step `first` on."""
    for steps in sizes:
        yield np.arange(first, first + steps, dtype=np.uint32)
        first += steps


class Run:
    """Trains until the budget is spent; `workdir` holds what a later process needs to go on."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags, self.workdir = flags, pathlib.Path(flags.workdir)
        folder = pathlib.Path(flags.step)
        self.manifest = values.manifest_of(folder)
        self.settings = self.manifest["run"]
        if flags.steps or flags.minutes:
            self.settings.update(steps=flags.steps or 0, minutes=flags.minutes or 0.0)
        self.schedule = _schedule_of(self.manifest["schedule"], flags)
        self.log_steps = flags.log_steps or self.settings["log_steps"]
        self.call = self._call_of(folder)
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.workdir / "checkpoint.npz"
        self.seconds = 0.0
        first = self._restored(folder)
        self.step = int(first["step"])
        variables = self.manifest["inputs"][compiled_step.GIVEN :]
        self.changing = [x["name"] for x in variables if x["output"] is not None]
        self.fixed_values = {x["name"]: first[x["name"]] for x in variables if x["output"] is None}
        self.state = [jax.device_put(first[n]) for n in self.changing]
        self.constants = [jax.device_put(v) for v in self.fixed_values.values()]
        self._signal = self._unusable = 0
        self._window: list[np.ndarray] = []
        self._calls: dict[int, Any] = {}
        self._ends: collections.deque[tuple[float, int]] = collections.deque(maxlen=RECENT)

    def _call_of(self, folder: pathlib.Path) -> Callable[..., Any]:
        artifact = folder / "step.stablehlo"
        if not artifact.exists():
            raise FileNotFoundError(f"no {artifact} yet: run {folder / 'convert.py'} first.")
        step = compiled_step.exported_of(artifact.read_bytes(), self.manifest)
        run, cut = self.settings, None
        if self.flags.crops == "device":
            shape = {"batch": run["batch"], "side": run["crop"], "downscale": run["downscale"]}
            cut = functools.partial(device_crops.cut, seed=run["seed"], **shape)
        return compiled_step.call_of(step, self.manifest, cut)

    def _restored(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        """Returns the values of the checkpoint, or without one those to begin with."""
        if not self.checkpoint.exists():
            return values.initial(folder, self.manifest)
        content = self.checkpoint.read_bytes()
        found, meta = values.checkpoint_of(self.checkpoint, content, self.manifest["digest"])
        began_with = meta.get("crops", "host")  # Earlier versions knew no others.
        if began_with != self.flags.crops:
            raise ValueError(
                f"{self.checkpoint} is of a run with --crops={began_with}: use that again, or "
                "choose another --workdir."
            )
        self.seconds = meta["seconds"]
        say(f"going on from step {int(found['step'])}")
        return found

    def save(self) -> None:
        """Writes the checkpoint, atomically: a full disk leaves the last one as it was."""
        current = {n: np.asarray(v) for n, v in zip(self.changing, self.state)}
        try:
            content = values.content_of({**self.fixed_values, **current}, self._meta())
            values.write(self.checkpoint, content)
        except OSError as error:
            raise Stopped(f"cannot write {self.checkpoint}: {error}.") from None

    def _meta(self) -> dict[str, Any]:
        digest = self.manifest["digest"]
        return {"digest": digest, "seconds": self.seconds, "crops": self.flags.crops}

    def _finish(self) -> None:
        """Saves, also what --split_mebibytes asks for."""
        self.save()
        if not self.flags.split_mebibytes:
            return
        averages = {
            n: np.asarray(v) for n, v in zip(self.changing, self.state) if n.startswith("average/")
        }
        limit = int(self.flags.split_mebibytes * 2**20)
        path = self.workdir / AVERAGE
        try:
            found = pieces.write(path, values.content_of(averages, self._meta()), limit)
        except OSError as error:
            raise Stopped(f"cannot write {path}: {error}.") from None
        say(f"{path}: {len(found)} pieces of at most {self.flags.split_mebibytes:g} MiB")

    def fraction(self, step: int) -> float:
        """Of the budget, that is spent at a step."""
        if self.settings["steps"]:
            return step / self.settings["steps"]
        return self.seconds / (60.0 * self.settings["minutes"])

    def _sizes(self) -> Iterator[int]:
        """How many steps each call has."""
        usual = self.flags.steps_per_call or self.settings["steps_per_call"]
        left = self.settings["steps"] - self.step if self.settings["steps"] else None
        while left is None or left > 0:
            yield usual if left is None else min(usual, left)
            left = None if left is None else left - usual

    def _rates(self, steps: int) -> np.ndarray:
        """Rates of learning of the next steps: steps × kinds of variables."""
        rows = [
            schedule.learning_rates(self.fraction(self.step + i), **self.schedule)
            for i in range(steps)
        ]
        return np.array([[r[k] for k in self.manifest["groups"]] for r in rows], np.float32)

    def train(self, began: float) -> None:
        """Trains; saves also when it is told to stop. `began` is when the process did."""
        if self.fraction(self.step) >= 1.0:
            say(f"the budget is spent: step {self.step}")
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
        """Returns the images on the device, if that cuts the crops, and the rows of each call."""
        run, flags = self.settings, self.flags
        paths = image_files.find(flags.data)
        if flags.crops == "device":
            megapixels = flags.device_megapixels
            images = device_crops.load(
                paths, image_files.read, run["crop"], megapixels, flags.threads
            )
            say(f"{device_crops.described(images, paths)}, batches of {run['batch']}")
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
            # Compiling and the first images do not count towards the budget.
            start = start or time.monotonic()
            self.state, losses = call(self.state, self.constants, images, rows, rates)
            # The device works on this call while the losses of the one before are read.
            self._record(*pending)
            pending = (self.step, losses)
            self.step += len(rows)
            now = time.monotonic()
            self.seconds = before + now - start
            out_of_time = self.flags.limit_minutes and now - began > 60 * self.flags.limit_minutes
            if self._signal or out_of_time:
                break
            if now - saved > 60.0 * self.settings["checkpoint_minutes"] and not self._unusable:
                self.save()
                saved = now
        self._record(*pending)
        if self.fraction(self.step) < 1.0:
            self._finish()
            if self._signal:
                name = signal.Signals(self._signal).name
                raise Stopped(f"{name}: saved at step {self.step}.", 128 + self._signal)
            raise Stopped(f"out of time: saved at step {self.step}.", UNFINISHED)

    def _compiled(self, *arguments: Any) -> Any:
        """Returns the call for as many steps as there are rows."""
        steps = len(arguments[3])
        if steps not in self._calls:
            start = time.monotonic()
            self._calls[steps] = self.call.lower(*arguments).compile()
            say(f"compiled {steps} steps in {time.monotonic() - start:.0f} s")
        return self._calls[steps]

    def _record(self, step: int, losses: Any) -> None:
        """Writes down the losses of the steps after `step`; waits for them."""
        losses = np.asarray(losses)
        self._ends.append((time.monotonic(), step + len(losses)))
        for i, row in enumerate(losses):
            usable = np.isfinite(row[self.manifest["losses"].index("loss")])
            self._unusable = 0 if usable else self._unusable + 1
            if self._unusable >= NOT_NUMBERS:
                raise Stopped(
                    f"the loss is not a number since step {step + i + 2 - NOT_NUMBERS}: lower the "
                    f"learning rate. {self.checkpoint}, if there is one, is from before."
                )
            self._window.append(row)
            if (step + i + 1) % self.log_steps == 0:
                means = dict(zip(self.manifest["losses"], np.mean(self._window, axis=0)))
                self._window = []
                self._log(step + i + 1, {k: float(v) for k, v in means.items()})

    def _log(self, step: int, means: dict[str, float]) -> None:
        (first, at), (last, to) = self._ends[0], self._ends[-1]
        speed = self.settings["batch"] * (to - at) / max(last - first, 1e-9)
        row = {"step": step, "seconds": round(self.seconds, 1), **means}
        table = self.workdir / "losses.csv"
        fresh = not table.exists()
        try:
            with table.open("a", newline="", encoding="utf-8") as file:
                rows = csv.DictWriter(file, row)
                rows.writeheader() if fresh else None
                rows.writerow(row)
        except OSError as error:
            raise Stopped(f"cannot write {table}: {error}.") from None
        shown = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
        percent = 100 * min(self.fraction(step), 1.0)
        say(f"{percent:.0f} %  step {step}  {self.seconds:.0f} s  {shown}  {speed:.1f} crops/s")

    def _stop(self, number: int, frame: Any) -> None:
        """Ends the run after its call; a second signal ends it at once."""
        del frame
        self._signal = number
        signal.signal(number, signal.SIG_DFL)


def say(text: str) -> None:
    print(text, flush=True)


def _schedule_of(settings: dict[str, Any], flags: argparse.Namespace) -> dict[str, Any]:
    """Returns the export's schedule with the changes of the flags."""
    peaks = {kind: rate * flags.rate_scale for kind, rate in settings["peaks"].items()}
    changes = {"warmup": flags.warmup, "decay": flags.decay}
    return {**settings, "peaks": peaks, **{k: v for k, v in changes.items() if v is not None}}


def number(kind: type, least: float = 0.0, most: float = math.inf, above: bool = True) -> Any:
    """Returns a parser of a flag's number within limits; `above` excludes the least one."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most or math.isinf(value) or (above and value == least):
            limits = f"{'above' if above else 'at least'} {least:g}"
            limits += f" and at most {most:g}" if most < math.inf else ""
            raise argparse.ArgumentTypeError(f"a number {limits}; got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number.
    return parse


def parsed() -> argparse.Namespace:
    """Returns the flags."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = str(pathlib.Path(__file__).parent)
    count, positive = number(int), number(float)
    part = number(float, 0.0, 1.0, above=False)
    add = words.add_argument
    add("--data", required=True, help="folder of images, searched recursively")
    add("--workdir", required=True, help="for checkpoint.npz and losses.csv")
    add("--step", default=here, help="what export wrote (default: where this file is)")
    budget = words.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=count, help="budget, in place of the config's")
    budget.add_argument("--minutes", type=positive, help="budget, in place of the config's")
    add("--limit_minutes", type=positive, help="save and end after so many, budget or not")
    add("--steps_per_call", type=count, help="in place of the export's")
    add("--log_steps", type=count, help="in place of the config's")
    add("--rate_scale", type=positive, default=1.0, help="factor of all learning rates")
    add("--warmup", type=part, help="fraction of the budget, in place of the config's")
    add("--decay", type=part, help="fraction of the budget, in place of the config's")
    add(
        "--crops",
        choices=["host", "device"],
        default="host",
        help="host: the crops of training.main, cut by --threads. device: all images in the "
        "accelerator's memory, crops cut there by other random numbers, without the host's limits",
    )
    add(
        "--device_megapixels",
        type=number(float, 0.0, device_crops.MOST_PIXELS / 1e6),
        help="room for images on the device, the same for all folders that are to share a compiled "
        "program (default: what --data needs)",
    )
    add("--compile_cache", help="folder that keeps compiled programs for later runs")
    add("--threads", type=count, default=os.cpu_count(), help="decode images and cut crops")
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
    flags = words.parse_args()
    if flags.device_megapixels and flags.crops != "device":
        words.error("--device_megapixels is for --crops=device")
    return flags


def main() -> None:
    began = time.monotonic()
    flags = parsed()
    logging.basicConfig(format="%(message)s")
    jax.config.update("jax_enable_x64", True)  # The step's number is an int64.
    if flags.compile_cache:
        jax.config.update("jax_compilation_cache_dir", flags.compile_cache)
    try:
        Run(flags).train(began)
    except (ValueError, OSError, Stopped, jax.errors.JaxRuntimeError) as error:
        text = str(error).strip().splitlines()[0]
        if "RESOURCE_EXHAUSTED" in text:
            text = "the device has too little memory: export a smaller batch"
            text += ", or use --crops=host." if flags.crops == "device" else "."
        print(text, file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
