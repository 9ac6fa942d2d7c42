"""Trains an exported step with jax, numpy and Pillow alone.

    python STEP_DIR/runner.py --data PICTURES --workdir OUT --minutes 60

Everything else is in STEP_DIR. Kill it at any time: the same command goes on where the last
checkpoint was, with the very crops and noise that would have come. OUT/checkpoint.npz holds
all values by name, OUT/losses.csv the means of every few steps.

Exit codes: 0 the budget is spent; 75 --limit_minutes ended it before that; 128 + n signal n
did; both after saving. 1 is an error, told in one line.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import csv
import dataclasses
import io
import itertools
import json
import logging
import os
import pathlib
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import crops
import jax
import numpy as np
import schedule
from jax import export
from PIL import Image, ImageCms, ImageOps

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".ppm", ".jp2"}
AHEAD = 3  # calls whose crops are made while a call runs
RECENT = 20  # calls that the speed is the mean of
NOT_NUMBERS = 20  # steps in a row without a usable loss, after which a run has diverged
UNFINISHED = 75
GIVEN = 2  # inputs that are not state: the batch and the rates of learning


class Stopped(Exception):
    """Training ended before its budget did; the message says why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def read(path: pathlib.Path) -> np.ndarray:
    """A picture's pixels in sRGB: upright, and on white where it is transparent."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode[0] in "IF":
                raise ValueError(f"samples of mode {image.mode}: give 8 bits a sample")
            if image.info.get("icc_profile") and image.mode in ("RGB", "CMYK"):
                profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
                srgb = ImageCms.createProfile("sRGB")
                image = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except (SyntaxError, EOFError, ImageCms.PyCMSError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None  # what broken files make of Pillow


def find(folder: str) -> list[pathlib.Path]:
    """Picture files of a folder and the folders in it, sorted."""
    paths = [p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise crops.DataError(f"no pictures in {folder}.")
    return sorted(paths)


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


def exported_of(artifact: bytes, manifest: dict[str, Any]) -> export.Exported:
    """The step as if jax had exported it.

    Put together here, as to read an export from a file jax needs a package more. A dummy has
    the fields of whatever version of jax this is.
    """
    inputs = [
        jax.core.ShapedArray(tuple(x["shape"]), np.dtype(x["dtype"])) for x in manifest["inputs"]
    ]
    outputs = [jax.core.ShapedArray((), np.dtype("float32"))] * len(manifest["losses"])
    changed = [(x["output"], v) for x, v in zip(manifest["inputs"], inputs)]
    outputs += [v for _, v in sorted((c for c in changed if c[0] is not None), key=lambda c: c[0])]
    dummy = export.export(jax.jit(lambda a: (a,)))(jax.ShapeDtypeStruct((1,), np.float32))
    fields = {
        "fun_name": "step",
        "in_tree": jax.tree_util.tree_structure((tuple([0] * len(inputs)), {})),
        "in_avals": tuple(inputs),
        "out_tree": jax.tree_util.tree_structure([0] * len(outputs)),
        "out_avals": tuple(outputs),
        "mlir_module_serialized": artifact,
        "module_kept_var_idx": tuple(range(len(inputs))),
        # One platform, without the check that it is this one: nothing in the step is of a
        # platform, and an artifact for several takes the platform as an input.
        "disabled_safety_checks": (export.DisabledSafetyCheck.platform(),),
    }
    for name in ("in_shardings_hlo", "_in_named_shardings"):
        fields[name] = (None,) * len(inputs)
        fields[name.replace("in_", "out_", 1)] = (None,) * len(outputs)
    known = {f.name for f in dataclasses.fields(dummy)}
    return dataclasses.replace(dummy, **{k: v for k, v in fields.items() if k in known})


def call_of(exported: export.Exported, manifest: dict[str, Any]) -> Callable[..., Any]:
    """Several steps as one function: (changing state, fixed, batches, rates) → (state, losses)."""
    outputs = [x["output"] for x in manifest["inputs"]]
    changing = [i for i, o in enumerate(outputs) if o is not None]
    fixed = [i for i in range(GIVEN, len(outputs)) if outputs[i] is None]
    losses = len(manifest["losses"])

    def call(state: list, constants: list, pictures: jax.Array, rates: jax.Array) -> Any:
        def step(state: list, given: tuple) -> Any:
            values = {**dict(enumerate(given)), **dict(zip(fixed, constants))}
            values.update(zip(changing, state))
            results = exported.call(*(values[i] for i in range(len(outputs))))
            return [results[outputs[i]] for i in changing], jax.numpy.stack(results[:losses])

        return jax.lax.scan(step, state, (pictures, rates))

    return jax.jit(call, donate_argnums=0)


class Run:
    """Trains until the budget is spent; what going on needs is in `workdir`."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags, self.workdir = flags, pathlib.Path(flags.workdir)
        folder = pathlib.Path(flags.step)
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.settings = self.manifest["run"]
        if flags.steps or flags.minutes:
            self.settings.update(steps=flags.steps or 0, minutes=flags.minutes or 0.0)
        self.log_steps = flags.log_steps or self.settings["log_steps"]
        artifact = folder / "step.stablehlo"
        if not artifact.exists():
            raise FileNotFoundError(f"no {artifact} yet: run {folder / 'convert.py'} first.")
        self.call = call_of(exported_of(artifact.read_bytes(), self.manifest), self.manifest)
        self.names = [x["name"] for x in self.manifest["inputs"]][GIVEN:]
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.workdir / "checkpoint.npz"
        self.seconds = 0.0
        values = self._restored(folder / "initial.npz")
        self.step = int(values["step"])
        changes = {x["name"]: x["output"] is not None for x in self.manifest["inputs"]}
        self.changing = [n for n in self.names if changes[n]]
        self.state = [jax.device_put(values[n]) for n in self.changing]
        self.constants = [jax.device_put(values[n]) for n in self.names if not changes[n]]
        self.fixed_values = {n: values[n] for n in self.names if not changes[n]}
        self._signal = self._unusable = 0
        self._window: list[np.ndarray] = []
        self._calls: dict[int, Any] = {}
        self._ends: collections.deque[tuple[float, int]] = collections.deque(maxlen=RECENT)

    def _restored(self, initial: pathlib.Path) -> dict[str, np.ndarray]:
        path = self.checkpoint if self.checkpoint.exists() else initial
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {k: arrays[k] for k in arrays.files}
        except (ValueError, EOFError, zipfile.BadZipFile):
            raise ValueError(f"{path} is damaged: remove it, or bring another.") from None
        if path == self.checkpoint:
            meta = json.loads(str(values.pop("__meta__")))
            if meta["digest"] != self.manifest["digest"]:
                raise ValueError(f"{path} is of another step: choose another --workdir.")
            self.seconds = meta["seconds"]
            say(f"going on from step {int(values['step'])}")
        return values

    def save(self) -> None:
        """Writes the checkpoint, atomically: a full disk leaves the last one as it was."""
        values = {n: np.asarray(v) for n, v in zip(self.changing, self.state)}
        meta = {"digest": self.manifest["digest"], "seconds": self.seconds}
        partial = self.checkpoint.with_name(f".{self.checkpoint.name}.part")
        try:
            with partial.open("wb") as file:
                text = np.array(json.dumps(meta))
                np.savez(file, __meta__=text, **self.fixed_values, **values)
            os.replace(partial, self.checkpoint)
        except OSError as error:
            raise Stopped(f"cannot write {self.checkpoint}: {error}.") from None
        finally:
            partial.unlink(missing_ok=True)

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
            schedule.learning_rates(self.fraction(self.step + i), **self.manifest["schedule"])
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
        run = self.settings
        cache = int(self.flags.cache_gigabytes * 2**30)
        files = crops.Files(find(self.flags.data), run["crop"], read, cache)
        say(f"{len(files)} files, batches of {run['batch']}, on {jax.devices()[0]}")
        examples = crops.Crops(files, run["seed"], run["downscale"], run["crops_per_image"])
        source = batches(examples, run["batch"], self.step, self._sizes(), self.flags.threads)
        try:
            self._steps(source, began)
        finally:
            source.close()
        self.save()
        say(f"done: {self.checkpoint}, step {self.step}")

    def _steps(self, source: Iterator[np.ndarray], began: float) -> None:
        before, start = self.seconds, None
        saved = time.monotonic()
        pending: tuple[int, Any] = (self.step, ())
        while self.fraction(self.step) < 1.0:
            pictures = next(source)
            rates = self._rates(len(pictures))
            call = self._compiled(self.state, self.constants, pictures, rates)
            # What compiling and the first pictures take is none of the budget.
            start = start or time.monotonic()
            self.state, losses = call(self.state, self.constants, pictures, rates)
            # The device works on this call while the losses of the one before are read.
            self._record(*pending)
            pending = (self.step, losses)
            self.step += len(pictures)
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
            self.save()
            if self._signal:
                name = signal.Signals(self._signal).name
                raise Stopped(f"{name}: saved at step {self.step}.", 128 + self._signal)
            raise Stopped(f"out of time: saved at step {self.step}.", UNFINISHED)

    def _compiled(self, *arguments: Any) -> Any:
        """The call for as many steps as there are pictures for."""
        steps = len(arguments[2])
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


def main() -> None:
    began = time.monotonic()
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = str(pathlib.Path(__file__).parent)
    words.add_argument("--data", required=True, help="folder of pictures, with those in it")
    words.add_argument("--workdir", required=True, help="for checkpoint.npz and losses.csv")
    words.add_argument("--step", default=here, help="what export wrote (where this file is)")
    budget = words.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="budget, in place of the config's")
    budget.add_argument("--minutes", type=float, help="budget, in place of the config's")
    words.add_argument(
        "--limit_minutes", type=float, help="save and end after so many, budget or not"
    )
    words.add_argument("--steps_per_call", type=int, help="in place of the export's")
    words.add_argument("--log_steps", type=int, help="in place of the config's")
    words.add_argument("--threads", type=int, default=os.cpu_count(), help="that make crops")
    words.add_argument("--cache_gigabytes", type=float, default=4.0, help="of decoded pictures")
    logging.basicConfig(format="%(message)s")
    jax.config.update("jax_enable_x64", True)  # The step's number is an int64.
    try:
        Run(words.parse_args()).train(began)
    except (ValueError, OSError, Stopped) as error:
        print(str(error).strip().splitlines()[0], file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
