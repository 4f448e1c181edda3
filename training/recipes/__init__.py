"""Recipes: Python files holding one frozen value each.

A recipe's docstring gives the command, the hardware, the time and the score, or "not yet run";
where the numbers come from; and what is otherwise than there. Of all papers' recipes this holds:
kernels start as Keras draws them (Glorot uniform), biases and the scales and shifts of
normalisation are not decayed, and updates are synchronous.
"""

from training.engine.recipes import NAMES, Recipe, default_name, load, names, page, summary

__all__ = ["NAMES", "Recipe", "default_name", "load", "names", "page", "summary"]
