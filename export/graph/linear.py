"""Layers with a kernel: what batch norms fold into, and what is quantised by its channels."""

from __future__ import annotations

from keras import layers

LINEAR = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)
