"""Where the network of a run is from that was not trained here, and what its outputs mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kerascnn import outside_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """What a run keeps of its import; see `training.importing`.

    Attributes:
        source: a zoo name, the absolute path of a file, or "a model in memory".
        sha256: of the file, or of the weights of a model in memory; None of a name.
        asked: the options of the import, by which the same one is known again.
        labels: what the outputs are called, in their order.
        places: of each class of the data, the output that means it.
        labelled: whether the data says what its images show. Where it does not, the network's own
            answers are the truth that files are held against.
    """

    source: str
    sha256: str | None = None
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    places: Mapping[str, int] = dataclasses.field(default_factory=dict)
    labelled: bool = True

    @property
    def called(self) -> str | None:
        """What files and reports call the network, where that was asked for."""
        name = self.asked.get("name")
        return name if isinstance(name, str) else None

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Imported:
        """Read the JSON form; raises TypeError for another one."""
        return cls(**{**plain, "labels": tuple(plain.get("labels", ()))})


# What is there of these in a run.json is of these types.
SHAPE: Mapping[str, outside_json.Shape] = {
    "source": outside_json.text,
    "sha256": outside_json.maybe(outside_json.text),
    "asked": outside_json.values(outside_json.anything),
    "labels": outside_json.items(outside_json.text),
    "places": outside_json.values(outside_json.whole),
    "labelled": outside_json.flag,
}
