"""An exported file, open: passes edit it in place, and it is written once."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Self


class OpenFile(abc.ABC):
    """A file of either format.

    A pass is a function of the open file; each is a module of `export.tflite` or `export.onnx`.
    They are applied in this order: what quantisation has to change (`tflite.uint8_input`), what the
    task puts behind the network (`export.tasks.base.Task.ending`), and what the file says of itself
    (`metadata`).
    """

    @classmethod
    @abc.abstractmethod
    def open(cls, file: bytes) -> Self:
        """Of the bytes of a file."""

    @classmethod
    def edited(cls, file: bytes, edit: Callable[..., None], **given: Any) -> bytes:
        """A file after one pass."""
        opened = cls.open(file)
        opened.apply(edit, **given)
        return opened.packed()

    @abc.abstractmethod
    def apply(self, edit: Callable[..., None], **given: Any) -> None:
        """Have a pass edit the file.

        Args:
            given: what the pass takes beside the file.
        """

    @abc.abstractmethod
    def packed(self) -> bytes:
        """The bytes of the file as it is now."""

    @abc.abstractmethod
    def weight_sparsity(self) -> float:
        """Share of exact zeros among the weights with two or more dimensions, 0 to 1."""

    @abc.abstractmethod
    def nonzero_weights(self) -> int:
        """Numbers that are not zero among all weights, biases included."""
