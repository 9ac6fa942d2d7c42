"""A training step that leaves TensorFlow: see README.md beside this file."""
