"""The photos that scikit-image's wheel carries: for the demo, the page and whoever has none."""

from __future__ import annotations

import importlib.util
import pathlib

# The colour photographs in the wheel: nothing is downloaded. motorcycle_right is left out, for
# it is nearly the same as the left one.
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def files() -> dict[str, pathlib.Path]:
    """Photos by name, as far as they are there; none without scikit-image."""
    # Found without an import, which takes a second and is needed for nothing else.
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        return {}
    data = pathlib.Path(found.submodule_search_locations[0], "data")
    return {name: data / name for name in PHOTOS if (data / name).is_file()}
