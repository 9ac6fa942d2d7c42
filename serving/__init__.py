"""Applications around SavedModels: export, a server with TF Serving's protocol, a client."""
