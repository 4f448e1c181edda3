"""Classic CNNs as Keras 3 functional builders, exact to their papers.

`build`, `features` and `list_models` are the whole public surface; importing this package
imports neither keras nor a backend, so that the command line answers at once.
"""

from kerascnn.zoo import build, features, list_models

__version__ = "0.1.0"

__all__ = ["__version__", "build", "features", "list_models"]
