"""Converts step.hlo to step.stablehlo for jax. Needs only jax.

    python STEP_DIR/convert.py [STEP_DIR]

jaxlib translates the module to StableHLO and serializes it as a portable artifact, which stays
valid in later versions of jax and on every platform. The translation is not part of jax's public
API, so other versions than the one in constraints-jax.txt may need changes here. step.stablehlo
does not depend on the version.
"""

from __future__ import annotations

import os
import pathlib
import sys

from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo


def stablehlo_of(hlo: bytes) -> bytes:
    """Returns the portable artifact of a serialized HLO module."""
    with mlir.make_ir_context() as context:
        module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo), context)
        _erase_copies(module)
        attributes = module.operation.attributes
        # Remaining attributes of HLO, such as aliases, are set again by the runner's own jit.
        for name in [name for name in attributes if name.startswith("mhlo.")]:
            del attributes[name]
        version = stablehlo.get_version_from_compatibility_requirement(
            stablehlo.StablehloCompatibilityRequirement.WEEK_12
        )
        return _jax.mlir.serialize_portable_artifact(module, version, False)


def _erase_copies(operation: ir.Operation | ir.Module) -> None:
    """Removes mhlo.copy operations, which only affect memory."""
    for region in operation.operation.regions:
        for block in region.blocks:
            for inner in list(block.operations):
                _erase_copies(inner)
                if inner.operation.name == "mhlo.copy":
                    inner.operation.results[0].replace_all_uses_with(inner.operation.operands[0])
                    inner.operation.erase()


def main() -> None:
    """Converts the step in the folder given as argument, or in this file's folder."""
    folder = pathlib.Path(sys.argv[1] if sys.argv[1:] else pathlib.Path(__file__).parent)
    artifact = stablehlo_of((folder / "step.hlo").read_bytes())
    partial = folder / ".step.stablehlo.part"
    partial.write_bytes(artifact)
    os.replace(partial, folder / "step.stablehlo")
    print(f"{folder / 'step.stablehlo'}: {len(artifact) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
