"""Read a PyTorch state dict into NumPy without PyTorch and without running what is in it.

A .pth file is a pickle with the tensors' bytes beside it, in two containers: the zip of
torch >= 1.6 and the bare stream before it ("legacy", torch/serialization.py). The pickle is read
by `kerascnn.weights.inert_pickle`, and every length and offset in it is held against the bytes
that are there: memory goes with the length of the file.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import zipfile
from typing import Any

import numpy as np

from kerascnn.errors import InputError
from kerascnn.weights import inert_pickle
from kerascnn.weights.inert_pickle import Name

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
_MODULES = ("torch", "torch.storage")
_ORDERED_DICT = Name("collections", "OrderedDict")
_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_DIMENSIONS = 32
_MOST_NUMBERS = 2**48  # in one storage; petabytes


def read_checkpoint(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name, as read-only views of the file's bytes.

    Args:
        path: a .pth or .pt file that holds a (possibly ordered) dict of tensors.

    Raises:
        InputError: not such a file, cut short, one that wants to run code, or whose tensors lie
            outside of its bytes.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as stream:
            is_zip = zipfile.is_zipfile(stream)
        state = _read_zip(path) if is_zip else _read_legacy(path)
        return _tensors(path, state)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except InputError as error:
        raise _named(path, str(error)) from error
    except Exception as error:
        fault = f"{type(error).__name__} {error}"
        raise InputError(f"{path} is not a readable PyTorch checkpoint: {fault}") from error


def _tensors(path: pathlib.Path, state: Any) -> dict[str, np.ndarray]:
    # Training scripts wrap it.
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise InputError(f"{path} has no state dict; save `model.state_dict()`")
    return {
        str(name): value.array(f"{path}: tensor {name}")
        for name, value in state.items()
        if isinstance(value, _Tensor)
    }


def _named(path: pathlib.Path, message: str) -> InputError:
    return InputError(message if str(path) in message else f"{path}: {message}")


@dataclasses.dataclass(eq=False)
class _Storage:
    """A typed run of scalars; the bytes may come after the pickle that names it."""

    dtype: np.dtype
    size: int
    data: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    """A strided view of a storage; offset and strides count numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, title: str) -> np.ndarray:
        data, size = self.storage.data, math.prod(self.shape)
        if data is None:
            raise InputError(f"{title} lies outside its storage: the file lacks that")
        if not size:
            return np.zeros(self.shape, data.dtype)
        extent = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.offset + extent >= len(data):
            raise InputError(f"{title} lies outside its storage, or the file is cut short")
        if size > len(data):
            raise InputError(f"{title} is larger than its storage: {size:,} numbers of {len(data)}")
        strides = tuple(s * data.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, strides, writeable=False
        )


class _Storages:
    """All that a pickle names, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, _Storage] = {}

    def load(self, stream: io.BytesIO) -> Any:
        return inert_pickle.load(stream, known=_is_known, call=_made, persistent=self._persistent)

    def _persistent(self, pid: Any) -> _Storage:
        kind, name, key, _location, size, *view = pid
        if kind != "storage" or not isinstance(name, Name) or name.name not in _DTYPES:
            raise ValueError("data that is no storage")
        if view not in ([], [None]):
            raise InputError("its storages are views of others, which is refused; save it again")
        storage = _Storage(np.dtype(_DTYPES[name.name]), _whole(size, _MOST_NUMBERS))
        known = self.by_key.setdefault(str(key) if isinstance(key, int) else _text(key), storage)
        if (known.dtype, known.size) != (storage.dtype, storage.size):
            raise ValueError("a storage of two types or sizes")
        return known


def _is_known(name: Name) -> bool:
    return name in (_ORDERED_DICT, _TENSOR) or (name.module in _MODULES and name.name in _DTYPES)


def _made(name: Name, arguments: tuple) -> _Tensor:
    if name != _TENSOR:
        raise InputError(f"the checkpoint calls {name}, which is refused")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    shape, strides = (tuple(_whole(n, _MOST_NUMBERS) for n in row) for row in (shape, strides))
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions and {len(strides)} strides")
    return _Tensor(storage, _whole(offset, _MOST_NUMBERS), shape, strides)


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or abs(value) > most:
        raise ValueError(f"no count or offset, but a {type(value).__name__}")
    if value < 0:
        raise InputError("a tensor lies outside its storage: a count or offset is negative")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"no key, but a {type(value).__name__}")
    return value


def _read_zip(path: pathlib.Path) -> Any:
    storages = _Storages()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [n for n in names if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"{path} is a zip without a state dict")
        _check_entries(path, archive)
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() != b"little":
            raise InputError(f"{path} was written on a big-endian machine; save it again elsewhere")
        state = storages.load(io.BytesIO(archive.read(pickles[0])))
        for key, storage in storages.by_key.items():
            data = archive.read(f"{root}data/{key}")
            if len(data) < storage.bytes:
                raise _cut_short(path, state, storage)
            storage.data = np.frombuffer(data, storage.dtype, storage.size)
    return state


def _check_entries(path: pathlib.Path, archive: zipfile.ZipFile) -> None:
    """Every byte of the file stands for one of its entries: no bomb, and no name twice."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InputError(f"{path} is compressed, as PyTorch writes none; save it again")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(f"{path} is damaged: its entries overlap; get it again")
    if len({entry.filename for entry in entries}) < len(entries):
        raise InputError(f"{path} is damaged: it has two entries of one name; get it again")


def _read_legacy(path: pathlib.Path) -> Any:
    storages = _Storages()
    stream = io.BytesIO(path.read_bytes())
    if inert_pickle.load(stream) != LEGACY_MAGIC:
        raise InputError(f"{path} is not a PyTorch checkpoint")
    inert_pickle.load(stream)  # protocol version
    inert_pickle.load(stream)  # sizes of the writer's C types
    state = storages.load(stream)
    keys = inert_pickle.load(stream)
    if sorted(map(str, keys)) != sorted(storages.by_key):
        raise InputError(f"{path} does not list its storages once each; get it again")
    for key in keys:
        storage = storages.by_key[str(key)]
        size = int.from_bytes(stream.read(8), "little")
        start = stream.tell()
        there = len(stream.getbuffer()) - start
        if size != storage.size or there < storage.bytes:
            raise _cut_short(path, state, storage)
        storage.data = np.frombuffer(stream.getbuffer(), storage.dtype, size, start)
        stream.seek(start + storage.bytes)
    return state


def _cut_short(path: pathlib.Path, state: Any, storage: _Storage) -> InputError:
    tensors = state.items() if isinstance(state, dict) else ()
    names = (n for n, t in tensors if isinstance(t, _Tensor) and t.storage is storage)
    return InputError(
        f"{path} is cut short: tensor {next(names, 'of another name')} is not whole; get it again"
    )
