"""Random changes of training images; boxes and masks move with the pixels."""
