"""Programs for serving: export, server with TF Serving's protocol, client, and bulk work."""

import os

# The server's log is JSON. Below level 3, TensorFlow prints at every import that it cannot register
# cuDNN, cuFFT and cuBLAS. Actual failures are Python exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
