"""A task of its own: how bright an image is, a number that a .csv gives."""
