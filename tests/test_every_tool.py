"""Each tool on each kind of network: it works, or is refused for a reason in the field's words.

A table of what users may ask, by what the command line looks at before a framework is loaded; that
what is not refused works is tested in `tests/test_every_task.py` and by each tool's own tests.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import pytest

from export.artefacts.kinds import base as kinds
from export.artefacts.variants import parse_variant
from kerascnn import zoo
from kerascnn.errors import InputError
from training import tasks

COMMANDS = ("sweep", "find-lr", "bench-data", "debug", "shrink")
VARIANTS = (
    *("slim50_int8", "distil_prune50_int8", "mixed", "qat_int8", "qat_weight_int4", "int8"),
    *("weight_int4", "cluster16_int8", "int16x8", "plain_int8"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A kind of network.

    Attributes:
        model: of the zoo.
        task: its name.
        info: of a run.json, what says what files there can be.
        refused: by tool, words of the reason; all others work.
    """

    model: str
    task: str
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)


ROWS = {
    "classifier": Row(model="mobilenet_v2", task="classification", info={"request": {}}),
    "several labels": Row(model="mobilenet_v2", task="multilabel", info={"request": {}}),
    "SSDLite": Row(model="ssdlite_mobilenet_v2", task="detection", info={"detector": {}}),
    "EfficientDet": Row(model="efficientdet_lite0", task="detection", info={"detector": {}}),
    "RTMDet": Row(model="rtmdet_tiny", task="detection", info={"detector": {}}),
    "two-stage": Row(
        model="faster_rcnn_resnet50_fpn",
        task="detection",
        info={"detector": {"stages": 2}},
        refused={
            "slim50_int8": "losses",
            "distil_prune50_int8": "losses",
            "mixed": "moves the regions",
            "qat_int8": "losses",
            "qat_weight_int4": "losses",
            "cluster16_int8": "losses",
            "weight_int4": "4 bits",
            "int16x8": "16-bit activations",
        },
    ),
    "U-Net": Row(model="unet", task="segmentation"),
}


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> Row:
    return ROWS[request.param]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_every_network(row: Row, command: str) -> None:
    task = tasks.of(row.task)
    assert tasks.of_model(row.model).name in (task.name, task.networks)
    assert command in task.commands


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_made_or_refused(row: Row, name: str) -> None:
    kind, words = kinds.of(row.task), row.refused.get(name)
    if words is None:
        kind.check(parse_variant(name), row.info)
        return
    with pytest.raises(InputError, match=words) as refused:
        kind.check(parse_variant(name), row.info)
    assert name in str(refused.value)


def test_the_rows_are_all_kinds_of_networks() -> None:
    assert {row.task for row in ROWS.values()} == set(tasks.names())
    stages = {
        zoo.detector_spec(row.model, zoo.entry(row.model).input_shape).stages
        for row in ROWS.values()
        if row.task == "detection"
    }
    assert stages == {1, 2}


TAUGHT = {
    "lenet5": "classification", "ssdlite_mobilenet_v2": "detection",
    "efficientdet_lite0": "detection", "unet": "segmentation",
    "rtmdet_tiny": "detection",
}  # fmt: skip


@pytest.mark.parametrize(("model", "task"), TAUGHT.items())
def test_a_teacher_teaches_networks_of_its_task(model: str, task: str) -> None:
    assert {"teacher", "distil_weight", "temperature"} <= tasks.of(task).settings
    for other in ("classification", "detection", "segmentation"):
        teacher: Any = types.SimpleNamespace(task=other, folder="runs/teacher")
        if other == task:
            tasks.of(task).check_teacher(model, teacher)
            continue
        with pytest.raises(InputError, match=f"runs/teacher is for {other}, and {model} is"):
            tasks.of(task).check_teacher(model, teacher)


def test_a_two_stage_detector_has_no_teacher() -> None:
    teacher: Any = types.SimpleNamespace(task="detection", folder="runs/teacher")
    with pytest.raises(InputError, match="regions that it proposed itself"):
        tasks.of("detection").check_teacher("faster_rcnn_resnet50_fpn", teacher)
