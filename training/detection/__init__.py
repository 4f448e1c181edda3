"""Training and evaluation of detectors: boxes with classes, and masks of objects."""
