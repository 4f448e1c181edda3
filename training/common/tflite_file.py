"""TFLite files unpacked, through LiteRT's own generated schema."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema


def read(file: bytes) -> schema.ModelT:
    """Unpack a file, with all constants inside the object."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    for buffer in model.buffers:
        # Writers of large files put constants behind the flatbuffer and keep their place.
        if buffer.offset > 1:
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model
