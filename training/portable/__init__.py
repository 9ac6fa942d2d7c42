"""Training steps exported from TensorFlow to jax; see README.md in this folder."""
