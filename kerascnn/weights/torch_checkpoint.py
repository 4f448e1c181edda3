"""Read a PyTorch state dict into NumPy without PyTorch and without running what is in it.

A .pth file is a pickle, and a pickle is a program. The unpickler here resolves five names, all of
them constructors of plain data, and refuses every other one. Both containers are read: the
zip of torch >= 1.6 and the bare pickle stream before it ("legacy", torch/serialization.py).
"""

from __future__ import annotations

import collections
import io
import math
import pathlib
import pickle
import zipfile
from typing import Any

import numpy as np

from kerascnn.errors import InputError

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_checkpoint(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name.

    Args:
        path: a .pth or .pt file that holds a (possibly ordered) dict of tensors.

    Raises:
        InputError: not such a file, cut short, or one that wants to run code.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as stream:
            state = _read_zip(path) if zipfile.is_zipfile(stream) else _read_legacy(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a readable PyTorch checkpoint: {error}") from error
    # Training scripts wrap it.
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise InputError(f"{path} holds no state dict")
    return {
        str(name): value.array(f"{path}: tensor {name}")
        for name, value in state.items()
        if isinstance(value, _Tensor)
    }


class _Storage:
    """A typed run of scalars; the bytes may come after the pickle that names it."""

    def __init__(self, dtype: Any, size: int) -> None:
        self.dtype, self.size = np.dtype(dtype), int(size)
        self.data: np.ndarray | None = None


class _Tensor:
    """A strided view of a storage."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, title: str) -> np.ndarray:
        data, size = self.storage.data, math.prod(self.shape)
        if data is None or self.offset < 0 or any(s < 0 for s in (*self.shape, *self.strides)):
            raise InputError(f"{title} lies outside its storage")
        extent = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if size and self.offset + extent >= len(data):
            raise InputError(f"{title} lies outside its storage, or the file is cut short")
        strides = tuple(s * data.itemsize for s in self.strides)
        view = np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides)
        return view.copy()


def _rebuild_tensor(storage, offset, shape, strides, *_unused):
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BufferedIOBase | io.BytesIO, storages: dict[str, _Storage]):
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        raise InputError(f"the checkpoint asks for {module}.{name}, which is refused")

    def persistent_load(self, pid: Any) -> _Storage:
        _kind, dtype, key, _location, size = pid[:5]
        return self._storages.setdefault(str(key), _Storage(dtype, size))


def _read_zip(path: pathlib.Path) -> Any:
    storages: dict[str, _Storage] = {}
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"{path} is a zip without a state dict")
        state = _Unpickler(io.BytesIO(archive.read(pickles[0])), storages).load()
        root = pickles[0].removesuffix("data.pkl")
        for key, storage in storages.items():
            storage.data = np.frombuffer(archive.read(f"{root}data/{key}"), storage.dtype)
    return state


def _read_legacy(path: pathlib.Path) -> Any:
    storages: dict[str, _Storage] = {}
    with path.open("rb") as stream:
        if _Unpickler(stream, {}).load() != _LEGACY_MAGIC:
            raise InputError(f"{path} is not a PyTorch checkpoint")
        _Unpickler(stream, {}).load()  # protocol version
        _Unpickler(stream, {}).load()  # sizes of the writer's C types
        state = _Unpickler(stream, storages).load()
        for key in _Unpickler(stream, {}).load():
            storage = storages[str(key)]
            size = int.from_bytes(stream.read(8), "little")
            data = stream.read(storage.size * storage.dtype.itemsize)
            if size != storage.size or len(data) != size * storage.dtype.itemsize:
                raise InputError(
                    f"{path} is cut short: {_first_tensor(state, storage)} is not whole"
                )
            storage.data = np.frombuffer(data, storage.dtype)
    return state


def _first_tensor(state: Any, storage: _Storage) -> str:
    tensors = state.items() if isinstance(state, dict) else ()
    names = (n for n, t in tensors if isinstance(t, _Tensor) and t.storage is storage)
    return f"tensor {next(names, 'of another name')}"
