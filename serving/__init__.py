"""Applications around SavedModels: export, a server with TF Serving's protocol, a client."""

import os

# What TensorFlow's C++ says when it starts would stand between the lines of the server's log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
