"""Loading of the framework that Keras runs on, and what a program does just before."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator

from kerascnn.errors import InputError

_TRAINS = ("jax", "torch")  # beside tensorflow, which does all else too
_before: list[Callable[[], None]] = []


@contextlib.contextmanager
def preparing(prepare: Callable[[], None]) -> Iterator[None]:
    """While open, `prepare` is called before long work begins: once it has been checked."""
    _before.append(prepare)
    try:
        yield
    finally:
        _before.remove(prepare)


def prepare() -> None:
    """What is asked for is fine, and long work begins."""
    for one in _before:
        one()


def load(*, any_backend: bool = False) -> None:
    """Load TensorFlow without its greetings; or, for training, another backend that is set.

    Args:
        any_backend: KERAS_BACKEND may be jax or torch.

    Raises:
        InputError: KERAS_BACKEND names another backend, or one that is not installed.
    """
    prepare()
    # Chatter of native libraries, off unless somebody asked for it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        if not any_backend:
            raise InputError(f"this command runs on tensorflow; unset KERAS_BACKEND ({backend})")
        if backend not in _TRAINS or importlib.util.find_spec(backend) is None:
            raise InputError(
                f"KERAS_BACKEND must be tensorflow, jax or torch, and installed; {backend} is not"
            )
    from training.common.quiet import native_quiet

    with native_quiet():
        importlib.import_module(backend)
