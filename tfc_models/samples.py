"""Photos in scikit-image's wheel, for the demonstration and the web page."""

from __future__ import annotations

import importlib.util
import pathlib

# Color photographs in the wheel; nothing is downloaded. motorcycle_right is omitted, because it
# is nearly the same as the left one.
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def files() -> dict[str, pathlib.Path]:
    """Returns the installed photos by name; none without scikit-image."""
    # Located without the import, which takes a second.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return {}
    data = pathlib.Path(spec.submodule_search_locations[0], "data")
    return {name: data / name for name in PHOTOS if (data / name).is_file()}
