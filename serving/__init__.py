"""Applications around SavedModels: export, a server with TF Serving's protocol, a client."""

import os

# The server's log is JSON. At level 2 TensorFlow prints at every import that it cannot register
# cuDNN, cuFFT and cuBLAS; its failures reach Python as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
