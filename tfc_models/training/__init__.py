"""Training library: loop, trainer, data, schedules, losses, validation and publishing.

It is used by `tfc-models train` and by the programs in the repository's training/ folder. It does
not import tfc_models.cli, tfc_models.serving or command-line flags.
"""

import time

# Start of the process for durations in logs: before TensorFlow is imported, which takes seconds.
BEGAN = time.monotonic()
