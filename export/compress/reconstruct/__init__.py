"""Post-training reconstruction: a quantised network that answers as the float one did.

Between folding and quantising, without labels. The network is walked from its input on, twice at
once: as it was, and as it has become so far. At every linear layer

- the kernel is rounded so that the layer makes of what it will really be given what the float
  network's made of what that was given (`export.compress.reconstruct.rounding`,
  `export.compress.reconstruct.targets`),
- the bias is corrected until every channel has the mean that it had in the float network, which
  rounding moves (Nagel et al. 2019, arXiv 1906.04721, section 4.2, with the means measured),

and where the file has integers for activations, the range of each is chosen by the error that it
causes (`export.compress.reconstruct.ranges`) and felt by everything behind it.

Before it, channels that share a scale are brought nearer to one size where that is exact, and so
are the weights of four bits that read each channel (`export.compress.reconstruct.equalise`); dead
channels become copies of those whose rounding errs most (`export.compress.reconstruct.split`).

In all that is summed up over images, a loud one counts no more than the others
(`export.compress.reconstruct.loud`). Half of the images that are looked at are made of
others, and behind the first layers four times as many join (`export.compress.reconstruct.varied`).

What could fit the calibration images alone is judged on groups of them that were left out
(`export.compress.reconstruct.groups`): how far kernels make up for the layers before them, how wide
ranges are, and whether channels are brought to one size.

Kernels that are one kernel of several calls are rounded once (`export.compress.reconstruct.tied`).
Which of two files is nearer to the float network is measured by
`export.compress.reconstruct.measure`.

Tried and left out: raising the quiet channels between a layer and the depthwise convolution behind
it to the size of the loudest (cross-layer equalisation, up to the ReLU6's cap). On photos other
than those of calibration, EfficientNet-Lite0's int8 file fell from 22.3 to 16.8 dB: what exceeds
there what calibration saw of a channel is cut off, where it had room before. Training integers,
scales and biases of the whole rounded network on the float one's logits and sums of blocks: in
fifty steps of eight crops it gained nothing over what is here (7.79 and 7.75 dB at four bits).

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
