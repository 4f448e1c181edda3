"""Training and evaluation of segmentation networks: a class per pixel."""
