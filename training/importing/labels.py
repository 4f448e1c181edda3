"""What a network's outputs are called, and which of them a folder of the data means."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from kerascnn.errors import InputError, did_you_mean
from kerascnn.weights.class_rows import COCO, COCO_OUTPUTS
from training.common.wording import counted
from training.datasets.paths import natural_key
from training.datasets.spelling import class_key

_NAMED = 5
_CLASSES = 1000
_MOST_BYTES = 1 << 24  # of a list of labels
_SYNSET = re.compile(r"n\d{8}")
_SPACES = re.compile(r"[\s_-]+")
_SURE = 0.95  # share of ImageNet's names that labels must have in its order, to be ImageNet's
_REMEDY = (
    "correct the folders' names, take them out, or say what the outputs mean: --labels FILE; "
    "without regard to folders: --unlabelled"
)
_BACKGROUND = "background"  # which networks of TF-Slim have in front of ImageNet's classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """Names of outputs.

    Attributes:
        names: in the order of the outputs.
        synsets: what folders of ImageNet are called, likewise; empty of others.
        synonyms: all names of each output, the label first; empty where that has no others.
        said: where they are from.
    """

    names: tuple[str, ...]
    synsets: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, ...], ...] = ()
    said: str = ""


def from_file(path: pathlib.Path, outputs: int) -> Labels:
    """A label a line.

    Raises:
        InputError: another number than that of the outputs, or a name twice.
    """
    names = read(path)
    if len(names) != outputs:
        raise InputError(
            f"{path} has {len(names):,} labels and the network {outputs:,} outputs; give a label a "
            "line, in the order of the outputs"
        )
    if "" in names:
        raise InputError(f"{path} has no label in line {names.index('') + 1}")
    refuse_doubled(names, str(path))
    return Labels(names=names, said=f"labels of {path}", synsets=_synsets_of(names))


def read(path: pathlib.Path) -> tuple[str, ...]:
    """The same as `lines`, spelt as the classes of data are."""
    return tuple(map(class_key, lines(path)))


def lines(path: pathlib.Path) -> tuple[str, ...]:
    """Those of a file, without empty ones at its end; raises InputError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is too long for a list of labels")
        found = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a text file of labels ({error})") from None
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def choose(outputs: int, *, source: str, classes: Sequence[str], data: str) -> Labels:
    """Labels that nobody gave: those of the data where their number fits, else ImageNet's.

    Args:
        source: of the network, for messages.
        classes: of the data, in its order; empty of images without labels.

    Raises:
        InputError: neither has as many as the network has outputs.
    """
    of_imagenet = imagenet(outputs)
    if of_imagenet and (len(classes) != outputs or _are_of(of_imagenet, classes)):
        return of_imagenet
    if len(classes) == outputs:
        ordered = tuple(sorted(classes, key=natural_key))
        return Labels(
            names=ordered,
            said=f"labels in the natural order of {data}'s classes: {some(ordered)} (another "
            "order: --labels FILE)",
        )
    raise _unnamed(source, outputs, data, classes)


def imagenet(outputs: int) -> Labels | None:
    """ImageNet's labels, where there are as many outputs, or one more in front of them."""
    if outputs not in (1000, 1001):
        return None
    from training.importing import imagenet as known

    front = (_BACKGROUND,) if outputs == 1001 else ()
    return Labels(
        names=(*front, *known.LABELS),
        synsets=(*front, *known.SYNSETS),
        synonyms=(*((one,) for one in front), *known.SYNONYMS),
        said="ImageNet's labels" + (" behind a background" if front else ""),
    )


# What Pascal VOC calls classes of COCO's.
_OF_VOC = {
    "airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable",
    "motorcycle": "motorbike", "potted plant": "pottedplant", "tv": "tvmonitor",
}  # fmt: skip


def coco(outputs: int) -> Labels | None:
    """COCO's labels, where there are 80 outputs, or 90 for its numbers from 1 on."""
    if outputs == len(COCO):
        names = list(COCO)
    elif outputs == COCO_OUTPUTS:
        names = [f"no class {number}" for number in range(1, outputs + 1)]
        for name, number in COCO.items():
            names[number - 1] = name
    else:
        return None
    synonyms = tuple((one, *filter(None, [_OF_VOC.get(one)])) for one in names)
    said = "COCO's labels" if outputs == len(COCO) else "COCO's labels, by its numbers"
    return Labels(names=tuple(names), synonyms=synonyms, said=said)


def of_weights(
    outputs: int, *, published: bool, classes: Sequence[str], data: str, source: str
) -> Labels:
    """What the outputs of a detector or segmentation network mean, of whole weights.

    Args:
        published: they are published by a name, so of COCO; else of a file, and may be of the
            data's own classes.

    Raises:
        InputError: there are as many of neither.
    """
    of_coco = coco(outputs)
    if of_coco and (published or len(classes) != outputs):
        return of_coco
    if len(classes) == outputs:
        return Labels(names=tuple(classes), said=f"labels are {data}'s own classes")
    raise _unnamed(source, outputs, data, classes)


def _unnamed(source: str, outputs: int, data: str, classes: Sequence[str]) -> InputError:
    """What to raise where nothing has as many names as a network has outputs."""
    there = counted(len(classes), "class") if classes else "no classes"
    return InputError(
        f"{source} has {counted(outputs, 'output')} and {data} has {there}; say what they mean: "
        "--labels FILE, a label a line"
    )


def of_names(names: Sequence[str], classes: Iterable[str]) -> Labels:
    """Labels that a file brings along, with the synsets by which ImageNet's folders are called.

    Where they are ImageNet's 1,000, with a background in front or without, synsets go by their
    place, however the labels are worded; elsewhere by the names that a synset has.

    Args:
        classes: of the data.
    """
    if (known := coco(len(names))) and known.names == tuple(names):
        return known
    if (known := imagenet(len(names))) and _worded(names, known):
        return Labels(names=tuple(names), synsets=known.synsets, synonyms=known.synonyms)
    asked = [name for name in classes if _SYNSET.fullmatch(name)]
    return Labels(names=tuple(names), synsets=_synsets_among(names, asked) if asked else ())


def places(
    labels: Labels, classes: Iterable[str], *, data: str, source: str, remedy: str = _REMEDY
) -> dict[str, int]:
    """Of each class of the data, the output that means it.

    By its name, whatever its case and spaces; by ImageNet's names of folders; or by one of the
    words of a label of several ("tench, Tinca tinca").

    Args:
        data, source: how messages call the data and the network.
        remedy: for classes that the network does not know.

    Raises:
        InputError: classes that the network does not know; all are counted, the first are named.
    """
    found, strange = {}, []
    known = _known(labels)
    for name in classes:
        place = known.get(class_key(name)) or known.get(_plain(name))
        if place is None:
            strange.append(name)
        elif len(place) > 1:
            raise InputError(
                f"{data}: {len(place)} outputs of {source} are called {name!r}; call the folder by "
                "its synset, or give --labels FILE with different names"
            )
        else:
            found[name] = place[0]
    if strange:
        hint = did_you_mean(strange[0], labels.names) or ";"
        raise InputError(
            f"{data} has classes that {source} does not know: {some(strange)}{hint} its labels "
            f"are {some(labels.names)}; {remedy}"
        )
    _refuse_shared(found, data, labels)
    return found


def some(names: Sequence[str]) -> str:
    """A few of many names."""
    more = f", ... ({len(names):,} in all)" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def refuse_doubled(names: Sequence[str], where: str) -> None:
    """Raise InputError for a label that two outputs have."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{where} has the label {name!r} twice; give each output its own")
        seen.add(name)


def _refuse_shared(found: Mapping[str, int], data: str, labels: Labels) -> None:
    by_place: dict[int, str] = {}
    for name, place in found.items():
        if place in by_place:
            raise InputError(
                f"{data}: {by_place[place]!r} and {name!r} are both the label "
                f"{labels.names[place]!r}; put their images into one folder"
            )
        by_place[place] = name


def _known(labels: Labels) -> dict[str, list[int]]:
    """Outputs by what folders may be called; the surer way first."""
    ways: list[dict[str, list[int]]] = [{}, {}, {}, {}]
    for place, name in enumerate(labels.names):
        others = labels.synonyms[place] if labels.synonyms else name.split(",")
        spellings = [[class_key(name)], [_plain(name)], labels.synsets[place : place + 1]]
        for way, words in zip(ways, [*spellings, map(_plain, others)], strict=True):
            for word in filter(None, dict.fromkeys(words)):
                way.setdefault(word, []).append(place)
    merged: dict[str, list[int]] = {}
    for way in ways:
        for word, found in way.items():
            merged.setdefault(word, found)
    return merged


def _synsets_of(names: Sequence[str]) -> tuple[str, ...]:
    """ImageNet's folders go with its labels however a file words these: by their number."""
    found = imagenet(len(names))
    return found.synsets if found else ()


def _worded(names: Sequence[str], known: Labels) -> bool:
    """Whether names are ImageNet's, in its order, whichever of its words they take."""
    pairs = list(zip(names, known.synonyms, strict=True))[-_CLASSES:]
    same = sum(_plain(name) in _spellings(others) for name, others in pairs)
    return same >= _SURE * _CLASSES


def _synsets_among(names: Sequence[str], synsets: Iterable[str]) -> tuple[str, ...]:
    """Of each name the synset that means it alone; empty where none does."""
    from training.importing import imagenet as known

    others = dict(zip(known.SYNSETS, known.SYNONYMS, strict=True))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(_plain(name), []).append(place)
    found = [""] * len(names)
    for synset in synsets:
        spellings = _spellings(others.get(synset, ()))
        fitting = {place for one in spellings for place in places.get(one, [])}
        if len(fitting) == 1:  # two that share a word are told apart by nothing here
            found[fitting.pop()] = synset
    return tuple(found)


def _spellings(names: Sequence[str]) -> set[str]:
    return {_plain(name) for name in (*names, ", ".join(names))}


def _are_of(labels: Labels, classes: Iterable[str]) -> bool:
    """Whether folders are called as ImageNet's are."""
    known = _known(labels)
    return all(class_key(name) in known or _plain(name) in known for name in classes)


def _plain(name: str) -> str:
    return _SPACES.sub(" ", class_key(name).strip()).casefold()
