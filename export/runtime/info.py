"""`kerascnn info`: what an exported file says of itself, and what it needs to run."""

from __future__ import annotations

import collections
import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from export.artefacts import half_precision
from export.artefacts.artefact import FLOAT_LAYERS, Artefact
from export.artefacts.description import RAW, read_description
from export.artefacts.kinds import base as kinds
from export.artefacts.selftest import FIELD, Comparison, known
from export.runtime import accelerators, selftest
from export.runtime.accelerators import Accelerators
from kerascnn.errors import InputError
from kerascnn.preprocessing import LETTERBOX_GREY, OVERLAP
from training.common.wording import counted, unit_of

_SHOWN_LABELS = 10
_WIDTH = 12  # of the first column
_MOST = 100_000  # operations; the largest network of the zoo has a few thousand
_FLEX = "Flex"  # begins the name of an operation that TensorFlow itself computes
# A custom operation that every LiteRT runtime brings along.
_WELL_KNOWN = ("TFLite_Detection_PostProcess",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """An exported file.

    Attributes:
        bytes: its length.
        operations: how many it has of each kind.
        custom: kinds that are none of its format's own.
        flex: those among them that TensorFlow has to be brought along for.
        verified: what its self-test came to here; None where it was not run, or is not inside.
        accelerators: which take a .tflite file whole; None of others.
        beside: what the .json beside a file says of it, where there is one that is its own:
            "partitions" for XNNPACK, "half_precision" (`export.artefacts.half_precision`), and of
            int8 files "float_layers" where some are (`export.compress.reconstruct.keep_float`).
        metadata: its description of itself, see `export.artefacts.description`.
    """

    file: str
    format: str
    bytes: int
    operations: Mapping[str, int]
    custom: tuple[str, ...]
    flex: tuple[str, ...]
    verified: Comparison | None = None
    accelerators: Accelerators | None = None
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, Any]


def info(path: pathlib.Path, *, verify: bool = False) -> Info:
    """Look at a .tflite or .onnx file, from anywhere; nothing of it is run.

    Args:
        verify: run its self-test after all, once it did no harm in a process of its own.

    Raises:
        InputError: another file, a broken one, one that does not describe itself, or one whose
            description is of another network.
    """
    metadata = read_description(path)
    try:
        operations, custom, shape = _LOOKS[path.suffix](path)
        tflite = path.suffix == ".tflite"
        whole = accelerators.accelerators(path) if tflite else None
    except InputError:
        raise
    except Exception as error:
        # The readers of both formats trust their lengths and offsets, and end in any exception.
        raise InputError(f"{path} is broken ({error!r}); get it again") from None
    taken = tuple(metadata["input"][side] for side in ("height", "width", "channels"))
    if shape[1:] != taken:
        raise InputError(
            f"{path} takes {_sides(shape[1:])}, and describes itself as taking {_sides(taken)}; "
            "make it again: kerascnn compress"
        )
    return Info(
        file=str(path),
        format=path.suffix.removeprefix("."),
        bytes=path.stat().st_size,
        metadata=metadata,
        operations=dict(sorted(operations.items())),
        custom=tuple(sorted(custom)),
        flex=tuple(sorted(name for name in custom if name.startswith(_FLEX))),
        verified=selftest.verify(path, metadata) if verify else None,
        accelerators=whole,
        beside=_beside(path),
    )


def as_json(found: Info) -> dict[str, Any]:
    """Plain values; "metadata" is what the file has as kerascnn.json."""
    plain = dataclasses.asdict(found)
    if found.verified is not None:
        difference = found.verified.difference
        plain["verified"] |= {
            "difference": difference if math.isfinite(difference) else None,
            "verified": found.verified.verified,
        }
    return plain


def as_text(found: Info) -> str:
    """Lines for a terminal, with nothing in them that it would take for a command."""
    metadata, labels = found.metadata, found.metadata["labels"]
    shown = ", ".join(labels[:_SHOWN_LABELS])
    more = f", ... (--json lists {len(labels)})" if len(labels) > _SHOWN_LABELS else ""
    rows = {
        "": metadata["description"],
        "task": metadata["task"],
        "model": f"{metadata['model']}, {metadata['variant']}, "
        f"network {metadata['version'] or 'unknown'}",
        "size": f"{unit_of([found.bytes]).text(found.bytes)} ({found.bytes:,} bytes)",
        "input": _input(metadata["input"]),
        "outputs": "; ".join(
            f"{one['name']} {_sides(one['shape'])} {one['type']}" for one in metadata["outputs"]
        ),
        "answer": kinds.of(metadata["task"]).decodings[metadata["decoding"]["kind"]],
        "labels": f"{len(labels)}: {shown}{more}",
        "author": metadata["author"] or "unknown (set it: kerascnn compress --author)",
        "licence": metadata["license"] or "unknown (set it: kerascnn compress --license)",
        "self-test": _selftest(found),
        "operations": _operations(found),
    }
    if (parts := found.beside.get("partitions")) is not None:
        rows["XNNPACK"] = counted(parts, "partition")
    if (kept := found.beside.get(FLOAT_LAYERS)) is not None:
        rows["float"] = f"{', '.join(kept['layers'])}; all other layers int8"
    if found.accelerators is not None:
        rows["GPU"] = accelerators.text(found.accelerators.gpu)
        rows["NPU"] = accelerators.text(found.accelerators.npu)
    if (reached := found.beside.get("half_precision")) is not None:
        lines = half_precision.warnings(reached)
        rows["float16"] = "; ".join(lines) or half_precision.summary(reached)
    lines = [f"{name:{_WIDTH}}{value}" if name else value for name, value in rows.items()]
    return "\n".join(_plain(line) for line in (found.file, *lines))


def _selftest(found: Info) -> str:
    """What the file said where it was written, and what came of it here."""
    test = found.metadata.get(FIELD)
    if test is None:
        return "none inside (an earlier version wrote the file, or its runtime was not there)"
    if known(found.metadata) is None:
        return f"of a newer version ({test['edition']})"
    where = f"answers of {test['runtime']}"
    if "float" in test:
        where += f", {100 * test['float']:.2g}% apart from the float network's"
    if found.verified is None:
        return f"{where}; --verify runs it here"
    return f"{found.verified.text()}: {where}; here {selftest.runtime_name('.' + found.format)}"


def _input(spec: Mapping[str, Any]) -> str:
    mean, std = (_numbers(spec[name]) for name in ("mean", "std"))
    values = RAW if spec["values"] == RAW else f"(byte - {mean}) / {std}"
    colour = "BGR" if spec["order"] == "bgr" else spec["colour"]
    middle = f"the middle {spec['crop_fraction']:.1%} of the shorter side"
    fitted = {
        "stretch": "stretched",
        "pad": "centred on black, stretched if larger",
        "letterbox": f"in its own shape, {LETTERBOX_GREY} around it",
        "crop": middle,
        "centre": middle,
    }[spec["resize"]]
    if "interpolation" in spec:
        fitted += f", {spec['interpolation']}"
    if spec.get("tiles"):
        fitted += f"; in tiles of {spec['tiles']} pixels, {spec.get('overlap', OVERLAP):.0%} shared"
    size = f"{spec['height']} x {spec['width']}"
    return f"{spec['name']} {size} {colour}, {spec['type']}: {values}; {fitted}"


def _numbers(values: list[float]) -> str:
    """One where all channels have the same."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"({', '.join(f'{value:g}' for value in values)})"


def _operations(found: Info) -> str:
    parts = [f"{sum(found.operations.values())} of {len(found.operations)} kinds"]
    foreign = [name for name in found.custom if name not in (*found.flex, *_WELL_KNOWN)]
    known = [name for name in found.custom if name in _WELL_KNOWN]
    if not found.custom:
        parts.append("all of them the format's own")
    if known:
        parts.append(f"{', '.join(known)}, which every LiteRT runtime has")
    if foreign:
        parts.append(f"needs a runtime that has {', '.join(foreign)}")
    if found.flex:
        parts.append(f"needs the Flex delegate (Select TF ops) for {', '.join(found.flex)}")
    elif found.format == "tflite":
        parts.append("no Flex")
    return "; ".join(parts)


def _beside(path: pathlib.Path) -> dict[str, Any]:
    """Of the .json: to count a file's partitions, or to see what it reaches, it would be run."""
    try:
        stored = Artefact.open(path).info
    except InputError:
        return {}
    found = {"partitions": stored["evaluation"].get("partitions")}
    return found | {
        name: stored[name] for name in ("half_precision", FLOAT_LAYERS) if name in stored
    }


def _sides(shape: Any) -> str:
    return "x".join("n" if side is None else str(side) for side in shape)


def _plain(line: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)


_Look = tuple[collections.Counter[str], set[str], tuple[int, ...]]


def _look_at_tflite(path: pathlib.Path) -> _Look:
    """Operations, those that are custom, and the shape of the input.

    Read where they lie: unpacking would follow offsets that may all point to the same large thing.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    kinds, custom = [], set()
    for index in range(_bounded(path, model.OperatorCodesLength())):
        code = model.OperatorCodes(index)
        # Old files have the first field alone, new ones both, of which it is the smaller one.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = names.get(builtin, f"operation {builtin}")
        if builtin == schema.BuiltinOperator.CUSTOM:
            name = code.CustomCode().decode()
            custom.add(name)
        kinds.append(name)
    operations: collections.Counter[str] = collections.Counter()
    for number in range(_bounded(path, model.SubgraphsLength())):
        graph = model.Subgraphs(number)
        for index in range(_bounded(path, graph.OperatorsLength())):
            operations[kinds[graph.Operators(index).OpcodeIndex()]] += 1
            _bounded(path, operations.total())
    graph = model.Subgraphs(0)
    picture = graph.Tensors(graph.Inputs(0))
    shape = [picture.Shape(side) for side in range(min(picture.ShapeLength(), 5))]
    return operations, custom & operations.keys(), tuple(shape)


def _look_at_onnx(path: pathlib.Path) -> _Look:
    import onnx

    graph = onnx.load_from_string(path.read_bytes()).graph
    own = ("", "ai.onnx")
    # Names that are no UTF-8 come as bytes.
    operations = collections.Counter(str(node.op_type) for node in graph.node)
    custom = {str(node.op_type) for node in graph.node if node.domain not in own}
    shape = tuple(side.dim_value for side in graph.input[0].type.tensor_type.shape.dim)
    return operations, custom, shape


def _bounded(path: pathlib.Path, count: int) -> int:
    if count > _MOST:
        raise InputError(f"{path} is broken: it counts more than {_MOST:,} operations")
    return count


_LOOKS: dict[str, Callable[[pathlib.Path], _Look]] = {
    ".tflite": _look_at_tflite,
    ".onnx": _look_at_onnx,
}
