"""Post-training reconstruction: a quantised network that answers as the float one did.

Between folding and quantising, without labels. The network is walked from its input on, twice at
once: as it was, and as it has become so far. At every linear layer

- the kernel is rounded so that the layer's outputs keep their values on what the layer will really
  be given (`export.compress.reconstruct.rounding`),
- the bias is corrected until every channel has the mean that it had in the float network, which
  rounding moves (Nagel et al. 2019, arXiv 1906.04721, section 4.2, with the means measured),

and where the file has integers for activations, the range of each is chosen by the error that it
causes (`export.compress.reconstruct.ranges`) and felt by everything behind it.

The rounded kernels go into the file as they are: their scales are handed to the quantiser, which
finds the same integers again (`export.tflite.kernel_ranges`).
"""

from export.compress.reconstruct.network import (
    ALL_PARTS,
    Format,
    Parts,
    Reconstruction,
    reconstruct,
)

__all__ = ["ALL_PARTS", "Format", "Parts", "Reconstruction", "reconstruct"]
