"""An exported step as a function of jax that takes several steps in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export

NON_STATE_INPUTS = 2  # inputs that are not state: the batch and the learning rates


def build_exported(artifact: bytes, manifest: dict[str, Any]) -> export.Exported:
    """Returns the step as an `Exported` of jax.

    It is constructed here because reading an export from a file needs another package. A dummy
    export provides the fields of the installed version of jax.
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
        # The artifact is for a single platform, and the check of the platform is disabled: nothing
        # in the step depends on it, and an artifact for several has the platform as an input.
        "disabled_safety_checks": (export.DisabledSafetyCheck.platform(),),
    }
    for name in ("in_shardings_hlo", "_in_named_shardings"):
        fields[name] = (None,) * len(inputs)
        fields[name.replace("in_", "out_", 1)] = (None,) * len(outputs)
    known = {f.name for f in dataclasses.fields(dummy)}
    return dataclasses.replace(dummy, **{k: v for k, v in fields.items() if k in known})


def build_call(
    exported: export.Exported,
    manifest: dict[str, Any],
    cut: Callable[[Any, jax.Array], jax.Array] | None = None,
) -> Callable[..., Any]:
    """Returns a compiled function (state, constants, images, rows, rates) → (state, losses).

    `rows` and `rates` have a row for each step. A row is a batch. With `cut`, it is the number of
    the step instead, and `cut(images, number)` returns the batch.
    """
    outputs = [x["output"] for x in manifest["inputs"]]
    changing = [i for i, o in enumerate(outputs) if o is not None]
    fixed = [i for i in range(NON_STATE_INPUTS, len(outputs)) if outputs[i] is None]
    losses = len(manifest["losses"])

    def call(state: list, constants: list, images: Any, rows: jax.Array, rates: jax.Array) -> Any:
        def step(state: list, row_and_rates: tuple) -> Any:
            row, rates = row_and_rates
            batch = cut(images, row) if cut else row
            values = {0: batch, 1: rates, **dict(zip(fixed, constants))}
            values.update(zip(changing, state))
            results = exported.call(*(values[i] for i in range(len(outputs))))
            return [results[outputs[i]] for i in changing], jax.numpy.stack(results[:losses])

        return jax.lax.scan(step, state, (rows, rates))

    return jax.jit(call, donate_argnums=0)
