"""Classifiers: one family, one file; all end in a Dense layer named `logits`."""
