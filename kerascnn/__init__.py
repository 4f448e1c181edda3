"""Vision models for phones: train, compress, verify and compare them.

`build`, `features` and `list_models` give the zoo: classic CNNs as Keras 3 functional builders,
exact to their papers. `train`, `import_model`, `open_run`, `compare`, `evaluate` and `predict` do
what the command line does; see `kerascnn.api`. Bad input raises `InputError`. Importing this
package imports neither keras nor a backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError
from kerascnn.zoo import build, features, list_models

if TYPE_CHECKING:
    from kerascnn.api import (
        CompressionOptions,
        ProgressEvent,
        Results,
        Run,
        Search,
        compare,
        evaluate,
        import_model,
        open_run,
        predict,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "CompressionOptions",
    "InputError",
    "ProgressEvent",
    "Results",
    "Run",
    "Search",
    "__version__",
    "build",
    "compare",
    "evaluate",
    "features",
    "import_model",
    "list_models",
    "open_run",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    """What trains, compresses and runs files, imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module("kerascnn.api"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
