"""Weights files that were made to do harm: each is refused in one line, and does nothing else."""

from __future__ import annotations

import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_safetensors

from kerascnn.errors import InputError
from kerascnn.weights.safetensors import read_safetensors
from kerascnn.weights.torch_checkpoint import LEGACY_MAGIC, read_checkpoint

VALUES = np.arange(6, dtype="<f4")


def word(text: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def whole(value: int | bool | float) -> bytes:
    """A number as pickles of protocol 2 have it."""
    return pickle.dumps(value, 2)[2:-1]


def row(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def name(text: str) -> bytes:
    """GLOBAL; `text` is "module name"."""
    return b"c" + text.replace(" ", "\n").encode() + b"\n"


def storage(key: str = "0", size: bytes = whole(6), kind: str = "torch FloatStorage") -> bytes:
    return row(word("storage"), name(kind), word(key), word("cpu"), size) + b"Q"


ZERO, SIX, ONE = whole(0), row(whole(6)), row(whole(1))


def tensor(offset=ZERO, shape=SIX, strides=ONE, of: bytes = b"") -> bytes:
    """By default all six numbers of the storage "0"."""
    arguments = row(of or storage(), offset, shape, strides, b"\x89", b"}")
    return name("torch._utils _rebuild_tensor_v2") + arguments + b"R"


def state(value: bytes, key: bytes = word("w")) -> bytes:
    """A pickled state dict of one entry."""
    return b"\x80\x02}(" + key + value + b"u."


def zip_file(path: Path, pickled: bytes, values: bytes = VALUES.tobytes()) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/data/0", values)
    return path


def legacy_file(
    path: Path, pickled: bytes, values: bytes = VALUES.tobytes(), keys: tuple[str, ...] = ("0",)
) -> Path:
    head = b"".join(pickle.dumps(v, 2) for v in (LEGACY_MAGIC, 1001, {"little_endian": True}))
    tail = pickle.dumps(list(keys), 2) + struct.pack("<q", len(values) // 4) + values
    path.write_bytes(head + pickled + tail)
    return path


BUILD = b"}(" + word("size") + whole(10**9) + word("dtype") + name("torch DoubleStorage") + b"ub"
SLOTS = b"N" + b"}(" + word("size") + whole(10**9) + b"u\x86b"
HUGE = whole(10**10)
ATTACKS: dict[str, bytes] = {
    "attributes of a storage": state(tensor(of=storage() + BUILD)),
    "slots of a storage": state(tensor(of=storage() + SLOTS)),
    "attributes of a tensor": state(tensor() + BUILD),
    "attributes of a name": state(name("torch FloatStorage") + BUILD),
    "a type is called": state(name("torch FloatStorage") + row(whole(4)) + b"R"),
    "a type of another module is called": state(name("torch.storage LongStorage") + b")R"),
    "a type is made by NEWOBJ": state(name("torch FloatStorage") + b")\x81"),
    "a type is made by INST": state(b"(itorch\nFloatStorage\n"),
    "a type is made by OBJ": state(b"(" + name("torch FloatStorage") + b"o"),
    "a storage is called": state(storage() + b")R"),
    "code": state(name("os system") + row(word("touch exploded")) + b"R"),
    "code by STACK_GLOBAL": b"\x80\x04" + state(word("os") + word("system") + b"\x93")[2:],
    "code by an extension": state(b"\x82\x01"),
    "an ordered dict of another's items": state(
        name("collections OrderedDict") + row(name("torch FloatStorage")) + b"R"
    ),
    "no storage": state(tensor(of=word("0"))),
    "a storage that is missing": state(tensor(of=storage("1"))),
    "a storage of two types": state(
        row(tensor(), tensor(of=storage(kind="torch DoubleStorage")))
    ),
    "a storage of two sizes": state(row(tensor(), tensor(of=storage(size=whole(7))))),
    "a storage larger than its bytes": state(tensor(of=storage(size=whole(7)))),
    "a storage of 2^62": state(tensor(of=storage(size=whole(2**62)))),
    "a storage of less than nothing": state(tensor(of=storage(size=whole(-6)))),
    "a storage of a fraction": state(tensor(of=storage(size=whole(6.0)))),
    "a storage of True": state(tensor(of=storage(size=whole(True)))),
    "a key out of the folder": state(tensor(of=storage("../../etc/passwd"))),
    "stride 0": state(tensor(shape=row(HUGE), strides=row(whole(0)))),
    "stride 0, twice": state(
        tensor(shape=row(whole(10**5), whole(10**5)), strides=row(whole(0), whole(0)))
    ),
    "a negative stride": state(tensor(offset=whole(5), strides=row(whole(-1)))),
    "a negative offset": state(tensor(offset=whole(-1))),
    "a negative side": state(tensor(shape=row(whole(-6)))),
    "an offset behind the end": state(tensor(offset=whole(1))),
    "an offset that overflows": state(tensor(offset=whole(2**64))),
    "strides that overflow": state(
        tensor(shape=row(whole(2), whole(3)), strides=row(whole(2**62), whole(1)))
    ),
    "sides that overflow": state(
        tensor(shape=row(whole(2**32), whole(2**32)), strides=row(whole(0), whole(0)))
    ),
    "a side of True": state(tensor(shape=row(whole(True)))),
    "a side of a fraction": state(tensor(shape=row(whole(6.0)))),
    "a side that is no number": state(tensor(shape=row(word("6")))),
    "fewer strides than sides": state(tensor(shape=row(whole(2), whole(3)))),
    "65 dimensions": state(
        tensor(shape=row(*[whole(1)] * 65), strides=row(*[whole(0)] * 65))
    ),
    "nothing, of giant sides": state(
        tensor(shape=row(whole(0), HUGE, HUGE), strides=row(*[whole(1)] * 3))
    ),
    "a memo of 2^31": state(whole(1) + b"r" + struct.pack("<I", 2**31 - 1) + b"N0")[:-2] + b"0u.",
    "a text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x",
    "bytes longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x",
    "a number longer than the file": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01",
    "a number of negative length": b"\x80\x02\x8b" + struct.pack("<i", -1),
    "a number of many digits": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    "deep lists": b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 10**5 + b".",
    "marks without end": b"\x80\x02" + b"(" * 10**5 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "an empty stack": b"\x80\x02.",
    "no end": b"\x80\x02}",
    "a memo that is missing": b"\x80\x02h\x05.",
}  # fmt: skip


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize("attack", ATTACKS)
def test_pickles_do_no_more_than_name_tensors(
    attack: str, write: Callable[..., Path], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pth", ATTACKS[attack])
    length = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"x\.pth") as raised:
            read_checkpoint(path)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000
    assert not (tmp_path / "exploded").exists()
    assert peak < 2_000_000 + 400 * length


def test_deep_keys_are_left_out_unhashed(tmp_path: Path) -> None:
    """A tuple's hash is recursive, in C, without an end: it was a segmentation fault."""
    deep = b")" + b"\x85" * 2 * 10**5
    pickled = b"\x80\x02}(" + deep + b"N" + word("w") + tensor() + b"u."
    np.testing.assert_array_equal(
        read_checkpoint(zip_file(tmp_path / "x.pth", pickled))["w"], VALUES
    )


def test_attributes_of_a_state_dict_are_dropped(tmp_path: Path) -> None:
    """As `_metadata`, which every real one has."""
    ordered = name("collections OrderedDict") + b")R"
    pickled = b"\x80\x02" + ordered + word("w") + tensor() + b"s"
    pickled += b"}" + word("_metadata") + ordered + b"sb."
    np.testing.assert_array_equal(
        read_checkpoint(zip_file(tmp_path / "x.pth", pickled))["w"], VALUES
    )


def test_tensors_cannot_be_written_to(tmp_path: Path) -> None:
    (array,) = read_checkpoint(zip_file(tmp_path / "x.pth", state(tensor()))).values()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_many_views_of_a_storage_take_no_memory(tmp_path: Path) -> None:
    """A thousand tensors of the same 4 MB: copies of them were 4 GB."""
    size = 10**6
    view = tensor(shape=row(whole(size)), of=b"h\x00")
    first = tensor(shape=row(whole(size)), of=storage(size=whole(size)) + b"q\x00")
    pickled = b"\x80\x02}(" + word("w") + first
    pickled += b"".join(word(f"w{i}") + view for i in range(1000)) + b"u."
    path = zip_file(tmp_path / "x.pth", pickled, np.zeros(size, "<f4").tobytes())
    tracemalloc.start()
    assert len(read_checkpoint(path)) == 1001
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_legacy_files_list_their_storages_once(tmp_path: Path) -> None:
    pickled = state(tensor())
    assert len(read_checkpoint(legacy_file(tmp_path / "x.pth", pickled))) == 1
    for keys in ((), ("1",), ("0", "0"), ("0", "1")):
        with pytest.raises(InputError, match="does not list its storages once each"):
            read_checkpoint(legacy_file(tmp_path / "x.pth", pickled, keys=keys))


def test_legacy_files_say_the_right_size(tmp_path: Path) -> None:
    path = legacy_file(tmp_path / "x.pth", state(tensor()), VALUES.tobytes()[:-4])
    with pytest.raises(InputError, match="tensor w is not whole"):
        read_checkpoint(path)


def test_views_of_old_storages_are_refused(tmp_path: Path) -> None:
    """Their offset was ignored, and the weights were wrong."""
    view = row(word("v"), whole(1), whole(3))
    of = row(word("storage"), name("torch FloatStorage"), word("0"), word("cpu"), whole(6), view)
    path = legacy_file(tmp_path / "x.pth", state(tensor(of=of + b"Q")))
    with pytest.raises(InputError, match="views of others"):
        read_checkpoint(path)


def test_zips_that_are_bombs_are_refused(tmp_path: Path) -> None:
    path, pickled = tmp_path / "x.pth", state(tensor())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/data/0", bytes(10**8))
    with pytest.raises(InputError, match="is compressed"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        archive.writestr("model/data/0", VALUES.tobytes())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("model/data/0", VALUES.tobytes())
    with pytest.raises(InputError, match="two entries of one name"):
        read_checkpoint(path)


def test_zips_whose_entries_overlap_are_refused(tmp_path: Path) -> None:
    """A thousand names of one megabyte stand for a gigabyte."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", state(tensor()))
        archive.writestr("model/data/0", bytes(10**6))
        one = archive.getinfo("model/data/0")
        for i in range(1, 1000):
            twin = zipfile.ZipInfo(f"model/data/{i}")
            twin.file_size, twin.compress_size = one.file_size, one.compress_size
            twin.CRC, twin.header_offset = one.CRC, one.header_offset
            archive.filelist.append(twin)
    with pytest.raises(InputError, match="its entries overlap"):
        read_checkpoint(path)


def test_other_byte_orders_are_refused(tmp_path: Path) -> None:
    path = zip_file(tmp_path / "x.pth", state(tensor()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/byteorder", "big")
    with pytest.raises(InputError, match="big-endian"):
        read_checkpoint(path)


def entry(**changes) -> dict:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


HEADERS: dict[str, str] = {
    "deep": '{"a":' + "[" * 10**5,
    "deep metadata": '{"__metadata__":' + '{"a":' * 10**5 + "}" * 10**5 + "}",
    "infinity": json.dumps(entry()).replace("[0, 8]", "[0, 1e999]"),
    "65 dimensions": json.dumps(entry(shape=[1] * 63 + [2, 1])),
    "a side of a fraction": json.dumps(entry(shape=[2.0])),
    "a side of True": json.dumps(entry(shape=[True, 2])),
    "a negative side": json.dumps(entry(shape=[-2])),
    "sides that overflow": json.dumps(entry(shape=[2**32, 2**32])),
    "an end before the beginning": json.dumps(entry(data_offsets=[8, 0])),
    "behind the end": json.dumps(entry(data_offsets=[8, 16])),
    "another size": json.dumps(entry(shape=[9])),
    "an unknown type": json.dumps(entry(dtype="F32x")),
    "a type of no use": json.dumps(entry(dtype="U64", shape=[1])),
    "overlaps": json.dumps({**entry(), "b": {**entry()["a"], "data_offsets": [4, 12]}}),
    "the same bytes twice": json.dumps({**entry(), "b": entry()["a"]}),
    "no offsets": '{"a": {"dtype": "F32", "shape": [2]}}',
    "a list": "[1, 2]",
    "a number": "1",
    "no JSON": "{",
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_of_safetensors(case: str, tmp_path: Path) -> None:
    path, header = tmp_path / "x.safetensors", HEADERS[case].encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(InputError, match=r"x\.safetensors") as raised:
        read_safetensors(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 2, 2**40, 2**64 - 1])
def test_lengths_of_headers(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(8))
    with pytest.raises(InputError, match=r"x\.safetensors"):
        read_safetensors(path)


def test_sound_files_are_read(tmp_path: Path) -> None:
    given = {"a": VALUES.reshape(2, 3), "empty": np.zeros((0, 3), np.float32)}
    read = read_safetensors(write_safetensors(tmp_path / "x.safetensors", given))
    for key, value in given.items():
        np.testing.assert_array_equal(read[key], value)
