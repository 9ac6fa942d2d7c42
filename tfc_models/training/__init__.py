"""Training library: loop, trainer, data, schedules, losses, validation and publishing.

Called by `tfc-models train` and by the programs in the repository's training/ folder. Imports
everything below it in the library, but neither tfc_models.cli nor tfc_models.serving, and no
command-line flags.
"""

import time

BEGAN = time.monotonic()  # Before a program imports TensorFlow, which takes seconds.
