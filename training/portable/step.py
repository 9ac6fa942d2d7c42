"""Export of a trainer's step as an XLA module, with everything needed to run it elsewhere.

The model, tensorflow-compression's layers, gradients, Keras' optimizers and the noise all compile
with XLA to a pure function. Variables become parameters, and variables that a step changes become
results, too.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import shutil
from typing import Any

import numpy as np
import tensorflow as tf

from tfc_models import models
from tfc_models.training import crops
from tfc_models.training.trainer import Trainer
from training.portable import split_files, values

HERE, LIBRARY = pathlib.Path(__file__).parent, pathlib.Path(crops.__file__).parent
PORTABLE_FILES = (
    *(HERE / name for name in ("runner.py", "convert.py", "compiled_step.py", "device_crops.py")),
    *(HERE / name for name in ("image_files.py", "split_files.py", "values.py")),
    *(LIBRARY / name for name in ("crops.py", "schedule.py", "stopped.py")),
)
"""Programs that are copied into exported steps. They need only jax, numpy and Pillow."""

_DTYPES = {
    **{"pred": "bool", "u8": "uint8", "s32": "int32", "s64": "int64", "u32": "uint32"},
    **{"u64": "uint64", "f32": "float32", "f64": "float64", "bf16": "bfloat16"},
}


def write(
    trainer: Trainer, folder: pathlib.Path, steps_per_call: int, half: bool = False
) -> dict[str, Any]:
    """Writes step.hlo, manifest.json, initial.npz and the runner; returns the manifest.

    Args:
        trainer: trainer whose step is exported.
        folder: output folder; created if needed.
        steps_per_call: default number of steps per call of the runner.
        half: whether to store large arrays of weights as float16, which loses precision.
    """
    config = trainer.config
    step = tf.function(trainer.train_step, jit_compile=True, autograph=False)
    batch = tf.zeros([config.batch, config.crop, config.crop, 3], tf.uint8)
    rates = tf.zeros([len(trainer.groups)], tf.float32)
    traced = step.get_concrete_function(batch, rates)
    compiled = step.experimental_get_compiler_ir(batch, rates)
    hlo, text = compiled(stage="hlo_serialized"), compiled(stage="hlo")
    names, initial = _captured_inputs(trainer, traced)
    stored, origins = values.compact(initial, half)
    arguments = {"batch": batch.numpy(), "rates": rates.numpy()}
    aliases = _output_aliases(text)
    losses = sorted(traced.structured_outputs)  # Results of a dict are in the order of its keys.
    inputs = [
        {
            "name": name,
            "variable": label,
            "shape": list(value.shape),
            "dtype": value.dtype.name,
            "output": aliases.get(i),
            **({"initial": origins[name]} if name in origins else {}),
        }
        for i, (name, label, value) in enumerate(
            [(k, "", v) for k, v in arguments.items()]
            + [(name, label, initial[name]) for name, label in names]
        )
    ]
    _check(text, inputs, len(losses))
    manifest = {
        "format": values.FORMAT,
        "digest": hashlib.sha256(hlo).hexdigest(),
        "model": trainer.model.name,
        "arguments": trainer.model.config,
        "computes_in": trainer.model.analysis_dtype.name,
        "run": {
            "steps": config.steps,
            "minutes": config.minutes,
            "batch": config.batch,
            "crop": config.crop,
            "downscale": config.downscale,
            "crops_per_image": config.crops_per_image,
            "seed": config.seed,
            "steps_per_call": steps_per_call,
            "log_steps": config.log_steps,
            "checkpoint_minutes": config.checkpoint_minutes,
        },
        "schedule": config.schedule,
        "groups": list(trainer.groups),
        "losses": losses,
        "inputs": inputs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.stablehlo").unlink(missing_ok=True)  # converted from an older step.hlo
    (folder / "step.hlo").write_bytes(hlo)
    np.savez_compressed(folder / "initial.npz", **stored)
    text = json.dumps(manifest, indent=1)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    copy_programs(folder)
    return manifest


def copy_programs(folder: pathlib.Path) -> None:
    """Copies the programs of exported steps to a folder."""
    for path in PORTABLE_FILES:
        shutil.copyfile(path, folder / path.name)


def _variables(trainer: Trainer) -> dict[int, tuple[str, tf.Variable]]:
    """Returns a trainer's variables and their names in manifests, by the id of their handles."""
    named: dict[str, tf.Variable] = {"step": trainer.step, "running_loss": trainer.running_loss}
    for i, (weight, average) in enumerate(zip(trainer.variables, trainer.average)):
        named[f"weights/{i:03}"], named[f"average/{i:03}"] = weight, average
    for kind, optimizer in trainer.optimizers.items():
        # `variables` does not include the learning rate.
        optimizer_variables = [*optimizer.variables, optimizer._learning_rate]
        named.update({f"optimizer/{kind}/{i:03}": v for i, v in enumerate(optimizer_variables)})
    known = {id(v.handle) for v in named.values()}
    others = {id(v.handle): v for m in (trainer.model, trainer.model.coder) for v in m.variables}
    generators = [m for m in trainer.model.coder.submodules if hasattr(m, "generator")]
    others.update({id(m.generator.state.handle): m.generator.state for m in generators})
    others = {k: v for k, v in others.items() if k not in known}
    named.update({f"other/{i:03}": v for i, v in enumerate(others.values())})
    return {id(v.handle): (name, v) for name, v in named.items()}


def _captured_inputs(
    trainer: Trainer, traced: Any
) -> tuple[list[tuple[str, str]], dict[str, np.ndarray]]:
    """Returns the names and labels of a traced step's captured inputs in order, and values."""
    variables = _variables(trainer)
    names, values = [], {}
    for i, captured in enumerate(traced.captured_inputs):
        if captured.dtype != tf.resource:
            name, label, value = f"constant/{i:03}", "", captured
        elif id(captured) in variables:
            name, variable = variables[id(captured)]
            label, value = variable.name, variable
        else:
            raise ValueError(f"the step uses a variable that the trainer does not know: {captured}")
        names.append((name, label))
        values[name] = value.numpy()
    return names, values


def _output_aliases(text: str) -> dict[int, int]:
    """Returns the number of the result that replaces each parameter, from a module's header."""
    header = text.split("\n", 1)[0]
    pairs = re.findall(r"\{(\d+)\}: \((\d+), \{\}", header)
    return {int(parameter): int(result) for result, parameter in pairs}


def _check(text: str, inputs: list[dict[str, Any]], losses: int) -> None:
    """Raises ValueError unless the module's parameters and results match the manifest."""
    entry = text[text.index("\nENTRY ") :]
    actual = {}
    for dtype, shape, number in re.findall(r" = (\w+)\[([\d,]*)\]\S* parameter\((\d+)\)", entry):
        actual[int(number)] = [_DTYPES.get(dtype, dtype), [int(n) for n in shape.split(",") if n]]
    expected = {i: [x["dtype"], x["shape"]] for i, x in enumerate(inputs)}
    if actual != expected:
        first = min(i for i in {*actual, *expected} if actual.get(i) != expected.get(i))
        raise ValueError(
            f"the compiled step's parameter {first} is {actual.get(first)}, not "
            f"{expected.get(first)}: its arguments are not in the order of the traced function's."
        )
    results = sorted(x["output"] for x in inputs if x["output"] is not None)
    if results != list(range(losses, losses + len(results))):
        raise ValueError(f"the compiled step's results are not {losses} losses and variables.")


def load_trained_model(folder: pathlib.Path, checkpoint: pathlib.Path) -> models.CompressionModel:
    """Returns the model of an exported step with the averaged weights of a runner's checkpoint.

    Args:
        folder: folder of the exported step.
        checkpoint: checkpoint.npz, or average.npz, which may be split.
    """
    manifest = values.read_manifest(folder)
    model = models.build(manifest["model"], **manifest["arguments"])
    content = split_files.read(checkpoint)
    arrays, _ = values.read_checkpoint(checkpoint, content, manifest["digest"])
    variables = model.trainable_variables
    labels = {x["name"]: x["variable"] for x in manifest["inputs"]}
    exported = [labels[n] for n in sorted(labels) if n.startswith("weights/")]
    if exported != [v.name for v in variables]:
        raise ValueError(
            f"the variables of {model.name} differ from those in the export: its code has changed "
            "since then."
        )
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"average/{i:03}"])
        if not np.all(np.isfinite(variable.numpy())):
            raise ValueError(f"{checkpoint}: {variable.name} has values that are not finite.")
    return model
