"""Training and evaluation of classifiers: one label per image."""
