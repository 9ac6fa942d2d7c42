"""Training programs; see docs/training.md."""

import time

BEGAN = time.monotonic()  # Before a program imports TensorFlow, which takes seconds.
