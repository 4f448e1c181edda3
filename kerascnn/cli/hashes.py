"""Fixed hashes for what a command writes."""

from __future__ import annotations

import os
import sys


def fix_hashes() -> None:
    """Begin the process anew with fixed hashes, if it has not; what it has done is lost."""
    if "PYTHONHASHSEED" not in os.environ:
        # The ONNX converter optimises in the order of hashes; a fixed one repeats its files.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
