"""Edits of Keras graphs that keep their function."""
