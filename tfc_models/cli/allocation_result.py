"""Result of `tfc-models allocate`, as tables and JSON."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, NamedTuple

from tfc_models.cli.output import print_table, size_text

if TYPE_CHECKING:
    from tfc_models import allocation


class Result(NamedTuple):
    """Measured images and their allocation.

    Attributes:
        measured: images with an available option.
        candidates: all options.
        found: choice by image.
        single: best option that is the same for all images; None if none meets the limits.
        metrics: metrics in addition to MSE.
    """

    measured: list[allocation.Measured]
    candidates: list[allocation.Candidate]
    found: allocation.Allocation
    single: int | None
    metrics: tuple[str, ...]

    def totals(self, choice: Any) -> allocation.Totals:
        """Returns totals and means of an option per image."""
        from tfc_models import allocation

        return allocation.totals([one.measurements for one in self.measured], choice, self.metrics)


def document(result: Result) -> dict[str, Any]:
    """Returns the result for JSON."""
    found = result.found
    files = [
        {
            "input": str(one.path),
            "codec": result.candidates[index].codec,
            "setting": result.candidates[index].setting.label,
            "bytes": measurement.bytes,
            "mse": measurement.mse,
            **measurement.further,
        }
        for one, index in zip(result.measured, found.choice)
        if (measurement := one.measurements[index]) is not None
    ]
    single = None
    if result.single is not None:
        choice = [result.single] * len(result.measured)
        single = {"setting": result.candidates[result.single].label, **_record(result, choice)}
    return {
        "totals": _record(result, found.choice),
        "best_single": single,
        "gap": found.gap,
        "method": found.method,
        "files": files,
    }


def _record(result: Result, choice: Any) -> dict[str, Any]:
    totals = result.totals(choice)
    further = {name.replace("-", "_"): value for name, value in totals.further.items()}
    return {"bytes": totals.bytes, "mse": totals.mse, "psnr": totals.psnr, **further}


def print_result(result: Result) -> None:
    """Prints the counts of every option, and the totals beside those of the best single one."""
    counts = collections.Counter(int(index) for index in result.found.choice)
    rows = []
    for index in sorted(counts):
        of_option = [
            one.measurements[index]
            for one, choice in zip(result.measured, result.found.choice)
            if choice == index
        ]
        size = sum(measurement.bytes for measurement in of_option if measurement is not None)
        candidate = result.candidates[index]
        rows.append([candidate.codec, candidate.setting.label, f"{counts[index]:,}", f"{size:,}"])
    columns = {"codec": "left", "setting": "left", "images": "right", "bytes": "right"}
    print_table(columns, rows)
    own = result.totals(result.found.choice)
    lines = [["allocation", *_cells(own)]]
    if result.single is not None:
        single = result.totals([result.single] * len(result.measured))
        lines.append([f"best single: {result.candidates[result.single].label}", *_cells(single)])
    heads = ["total bytes", *(f"mean {name}" for name in ("MSE", "PSNR", *result.metrics))]
    print_table({"": "left", **dict.fromkeys(heads, "right")}, lines)
    gain = "No single quality meets the limits."
    if result.single is not None:
        changes = [f"{own.psnr - single.psnr:+.2f} dB mean PSNR"]
        changes.append(f"{100 * (own.bytes / single.bytes - 1):+.1f} % bytes")
        if single.mse:
            changes.insert(0, f"{100 * (own.mse / single.mse - 1):+.1f} % MSE")
        gain = f"Gain over the best single quality: {', '.join(changes)}."
    print(f"{gain} Total {size_text(own.bytes)}. Proven gap {100 * result.found.gap:.2g} %.")


def _cells(totals: allocation.Totals) -> list[str]:
    further = [f"{value:.4f}" for value in totals.further.values()]
    return [f"{totals.bytes:,}", f"{totals.mse:.3f}", f"{totals.psnr:.2f}", *further]
