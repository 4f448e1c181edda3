"""Options of networks (`--option`) and of detectors (`--detector`): their names and defaults.

They are read from the builders' source, so that a misspelt one is refused before a framework is
imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from kerascnn.detection.specs import DELTAS, DISTANCES, OF_ANCHORS
from kerascnn.errors import InputError, did_you_mean
from kerascnn.zoo import detector_spec, entry, spec_module

_FROM_DATA = ("input_shape", "classes")  # what the data and --image-size decide
_SPECS = "kerascnn.detection.specs"
# Fields of them that a network decides on.
_OWN = ("anchors", "background", "input_size", "masks", "coding")
# Those whose defaults differ by network and are no plain numbers, in place of a default.
_OTHERS: Mapping[str, Any] = {"loss": "", "box_scales": (0.0,)}
_NO_DEFAULT = object()
# Of the anchors of a detector: fitted to the data.
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class _Signature:
    """Keyword parameters with their defaults, whether there are more (**), what is returned."""

    defaults: Mapping[str, Any]
    passes_on: bool
    returns: str


def of_network(model: str) -> dict[str, Any]:
    """What `--option` takes for a model: names with their defaults (None: the model's own)."""
    row = entry(model)
    module, _, function = row.builder.partition(":")
    signature = _signature(module, function)
    found = dict(signature.defaults)
    if signature.passes_on and row.backbone:
        # A two-stage detector is built with its boxes' options.
        boxes = of_detector(model) if _defines(module, "detector_spec") else {}
        found = {**of_network(row.backbone), **boxes, **found}
    found = {name: value for name, value in found.items() if name not in _FROM_DATA}
    return {**found, "dtype": None}


def of_detector(model: str) -> dict[str, Any]:
    """What `--detector` takes for a detector: names with values of the kind that each takes."""
    signature = _signature(spec_module(model), "detector_spec")
    found = {**_fields(_SPECS, signature.returns), **signature.defaults}
    return {
        name: _OTHERS.get(name, 0.0) if value is _NO_DEFAULT or value is None else value
        for name, value in found.items()
        if name not in _own(model)
    }


def _own(model: str) -> tuple[str, ...]:
    """Fields of its spec that a detector decides on."""
    return _OWN if _has_anchors(model) else (*_OWN, *OF_ANCHORS)


def check(
    model: str, options: Mapping[str, Any], detector_options: Mapping[str, Any] | None = None
) -> None:
    """Refuse options that a model does not have, and values of another kind than theirs.

    Raises:
        InputError: with the closest name, or all that there are.
    """
    for flag, given, known in (
        ("--option", options, of_network),
        ("--detector", detector_options or {}, of_detector),
    ):
        if given:
            _check(model, flag, given, known(model))


def _check(model: str, flag: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if flag == "--option" and name in _FROM_DATA:
            raise InputError(f"--option {name}: comes from --data and --image-size; leave it out")
        if flag == "--detector" and name in _own(model):
            if name == "anchors" and _fits_anchors(model):
                if value == AUTO:
                    continue
                raise InputError(
                    f"{model} decides on its own anchors; leave --detector anchors out, or give "
                    f"{AUTO} to have their sizes fitted to the data"
                )
            raise InputError(f"{model} decides on its own {name}; leave --detector {name} out")
        if name not in known:
            raise InputError(f"{model} has no option {flag} {name}{_hint(name, known)}")
        if wanted := _wanted(known[name], value):
            raise InputError(f"{flag} {name} must be {wanted}, not {value!r}")


def _fits_anchors(model: str) -> bool:
    """Whether a detector's anchors may be fitted to data: they are not built into the network."""
    one_stage = _signature(spec_module(model), "detector_spec").returns == "DetectorSpec"
    return one_stage and _has_anchors(model)


def _has_anchors(model: str) -> bool:
    """Whether boxes are predicted from anchors, and not from points."""
    module = spec_module(model)
    if not module.endswith("_boxes"):  # which would load a framework
        return True
    return getattr(detector_spec(model), "coding", DELTAS) != DISTANCES


def cannot_build(model: str, flag: str, given: Mapping[str, Any]) -> InputError:
    """What to raise where a value that is of the right kind is refused without a reason."""
    listed = f" {flag} ".join(f"{name}={value}" for name, value in given.items())
    return InputError(f"{model} cannot be built with {flag} {listed}; leave out or change one")


def _hint(name: str, known: Iterable[str]) -> str:
    every = f"it has: {', '.join(sorted(known))}"
    hint = did_you_mean(name, known)
    return f"{hint} {every}" if hint else f"; {every}"


def _wanted(default: Any, value: Any) -> str | None:
    """What a value should be, by the default's kind; None where it is that."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match default:
        case bool():
            return None if isinstance(value, bool) else "true or false"
        case int():
            return None if number and isinstance(value, int) else "a whole number"
        case float():
            return None if number else "a number"
        case str():
            return None if isinstance(value, str) else "a word"
        case tuple():
            numbers = isinstance(value, list | tuple) and not any(_wanted(0.0, v) for v in value)
            return None if numbers else "a list of numbers"
    return None


def _signature(module: str, function: str) -> _Signature:
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            arguments = node.args
            pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            return _Signature(
                {argument.arg: _value(default) for argument, default in pairs},
                arguments.kwarg is not None,
                node.returns.id if isinstance(node.returns, ast.Name) else "",
            )
        # resnet18 = functools.partial(resnet, "resnet18")
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and any(isinstance(to, ast.Name) and to.id == function for to in node.targets)
            and isinstance(node.value.args[0], ast.Name)
        ):
            return _signature(module, node.value.args[0].id)
    raise LookupError(f"{module}:{function}")


def _defines(module: str, function: str) -> bool:
    found = (node for node in _tree(module).body if isinstance(node, ast.FunctionDef))
    return any(node.name == function for node in found)


def _fields(module: str, name: str) -> dict[str, Any]:
    """Fields of a dataclass with their defaults."""
    found = next(
        node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    return {
        node.target.id: _value(node.value)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _value(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else _NO_DEFAULT
    except ValueError:
        return _NO_DEFAULT


@functools.cache
def _tree(module: str) -> ast.Module:
    package, *path = module.split(".")
    root = importlib.util.find_spec(package)
    assert root is not None
    assert root.origin is not None
    file = pathlib.Path(root.origin).parent.joinpath(*path).with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))
