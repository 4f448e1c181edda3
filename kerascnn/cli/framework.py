"""Loading of a framework, once a command has refused what it can refuse without one."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from kerascnn.errors import InputError


def begin(*, any_backend: bool = False) -> None:
    """Load TensorFlow, without its greetings; or, for training, another backend that is set."""
    fix_hashes()
    from training.common.quiet import native_quiet

    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        if not any_backend:
            raise InputError(f"this command runs on tensorflow; unset KERAS_BACKEND ({backend})")
        if backend not in ("jax", "torch") or importlib.util.find_spec(backend) is None:
            raise InputError(
                f"KERAS_BACKEND must be tensorflow, jax or torch, and installed; {backend} is not"
            )
    with native_quiet():
        importlib.import_module(backend)


def fix_hashes() -> None:
    """Begin the process anew with fixed hashes, if it has not; what it has done is lost."""
    if "PYTHONHASHSEED" not in os.environ:
        # The ONNX converter optimises in the order of hashes; a fixed one repeats its files.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
