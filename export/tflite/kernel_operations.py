"""Operations of a .tflite file that hold a kernel: what each is called, and where its kernel is."""

from __future__ import annotations

import dataclasses

from ai_edge_litert import schema_py_generated as schema
from litert_quantizer.qtyping import TFLOperationName


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelOperation:
    """One of them.

    Attributes:
        name: in the schema, as the runtime tells it.
        quantiser: what litert-quantizer calls it.
        source, kernel, bias: places among the operation's inputs.
        axis: of the kernel's output channels.
    """

    name: str
    quantiser: TFLOperationName
    source: int = 0
    kernel: int = 1
    bias: int = 2
    axis: int = 0


DEPTHWISE = KernelOperation(
    name="DEPTHWISE_CONV_2D", quantiser=TFLOperationName.DEPTHWISE_CONV_2D, axis=3
)
TRANSPOSED = KernelOperation(
    name="TRANSPOSE_CONV",
    quantiser=TFLOperationName.CONV_2D_TRANSPOSE,
    source=2,
    kernel=1,
    bias=3,
)
_ALL = (
    KernelOperation(name="CONV_2D", quantiser=TFLOperationName.CONV_2D),
    DEPTHWISE,
    KernelOperation(name="FULLY_CONNECTED", quantiser=TFLOperationName.FULLY_CONNECTED),
    TRANSPOSED,
)

KERNEL_OPERATIONS: dict[int, KernelOperation] = {
    getattr(schema.BuiltinOperator, one.name): one for one in _ALL
}
"""By the schema's code."""

KERNEL_NAMES = frozenset(one.name for one in _ALL)

QUANTISERS = tuple(one.quantiser for one in _ALL)
"""What litert-quantizer calls them."""
