r"""Lists the mean curves of evaluations by effort, and BD-rates between all of them.

    tfc-models evaluate PHOTOS --models gained-shallow,gained-checkerboard --codecs avif --out ONE
    tfc-models evaluate PHOTOS --models gained-shallow -e 3 --codecs avif --out TWO
    python -m training.experiments.effort_curves --output CURVES.csv \
        --results ONE/results.csv --results TWO/results.csv

Writes the columns codec, effort, setting, bpp and psnr. Standard codecs have no effort. Prints a
table with the BD-rate in PSNR of each curve (row) over each curve (column). The evaluations must
be of the same images.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable

from absl import flags

from tfc_models.analysis import bd_rate
from tfc_models.cli import absl_programs

_RESULTS = flags.DEFINE_multi_string(
    "results", None, "results.csv of an evaluation; may be repeated", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "CSV file to write", required=True)

MEAN = "mean"  # in place of the name of an image
COLUMNS = "codec", "effort", "setting", "bpp", "psnr"
Row = dict[str, str]


def mean_rows(results: Iterable[Row]) -> list[Row]:
    """Returns the rows of means, with the effort apart from the name of the model."""
    rows = []
    for result in results:
        if result["picture"] != MEAN:
            continue
        name, _, effort = result["codec"].partition(", effort ")
        if not effort and result["library"].startswith("tfc-models"):
            effort = "0"
        rows.append({**{key: result[key] for key in COLUMNS[2:]}, "codec": name, "effort": effort})
    return rows


def curves(rows: Iterable[Row]) -> dict[str, list[tuple[float, float]]]:
    """Returns the points of each codec and effort."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = f"{row['codec']}, effort {row['effort']}" if row["effort"] else row["codec"]
        points.setdefault(name, []).append((float(row["bpp"]), float(row["psnr"])))
    return points


def write() -> None:
    """Writes the curves and prints their BD-rates."""
    rows = []
    for path in _RESULTS.value:
        with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
            added = mean_rows(csv.DictReader(file))
        if not added:
            raise ValueError(f"{path} has no means: give the results.csv of an evaluation.")
        rows += [row for row in added if row not in rows]
    with pathlib.Path(_OUTPUT.value).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    points = curves(rows)
    print(f"| BD-rate in PSNR | {' | '.join(points)} |")
    print("|---" * (len(points) + 1) + "|")
    for name, own in points.items():
        cells = (
            "–" if other is own else f"{bd_rate(other, own):+.1f} %" for other in points.values()
        )
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    absl_programs.run(write)
