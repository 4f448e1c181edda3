"""Images that are in a data set twice: the same bytes, or nearly the same image.

Two images are alike if their `phash` differ in at most 3 of 64 bits and their `dhash` in at most 4.
Pairs within that distance are found without comparing all with all: of four 16-bit pieces of two
hashes that differ in three bits, one at least is equal. Images with equal hashes are one entry of
that search, so that thousands of copies cost no more than one; what is of one colour, or smaller
than a hash's 32 pixels, is compared by bytes alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PHASH_BITS, DHASH_BITS = 3, 4  # most that differ where two images are alike
SMALLEST = 32  # pixels a side
_PIECES = 4  # one more than the bits that may differ
_MOST_EDGES = 4_000_000  # held at a time


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Duplicates:
    """What is there twice; letters: n images, in order of their splits.

    Attributes:
        same: (n,) int64 number of the group of images with the same bytes.
        alike: (n,) int64 likewise of groups of chains of alike images, the same ones among them;
            -1 where there is nothing to compare.
        across: by pair of splits (later, earlier), (n,) int64 place of an image in the earlier one
            with the same bytes as this one of the later, or -1.
        alike_across: the same of alike images, where none has the same bytes.
    """

    same: np.ndarray
    alike: np.ndarray
    across: dict[tuple[int, int], np.ndarray]
    alike_across: dict[tuple[int, int], np.ndarray]


def find(rows: np.ndarray, splits: np.ndarray) -> Duplicates:
    """Look for images that are there twice.

    Args:
        rows: (n,) of `look.LOOK`; those that were not read are in no group with others.
        splits: (n,) int, the split of each.
    """
    count = int(splits.max(initial=0)) + 1
    pairs = [(later, earlier) for later in range(count) for earlier in range(later)]
    same = _same(rows)
    across = {pair: _partners(same, splits, *pair) for pair in pairs}
    eligible = rows["read"] & ~rows["blank"]
    eligible &= np.minimum(rows["height"], rows["width"]) >= SMALLEST
    alike, found = _alike(rows, splits, np.flatnonzero(eligible), pairs)
    for pair in pairs:
        found[pair][across[pair] >= 0] = -1
    return Duplicates(same=same, alike=alike, across=across, alike_across=found)


def near(
    phash: np.ndarray, dhash: np.ndarray, *, bits: int = PHASH_BITS, further: int = DHASH_BITS
) -> Iterator[np.ndarray]:
    """All pairs of hashes within the distances, in blocks; a pair may come several times.

    Args:
        phash, dhash: (n,) uint64.
        bits, further: most bits that differ of the first and of the second; `bits` is at most 3.

    Yields:
        (k, 2) int64 places.
    """
    if bits >= _PIECES:
        raise ValueError(f"{_PIECES} pieces find what differs in {_PIECES - 1} bits, not {bits}")
    for piece in range(_PIECES):
        key = (phash >> np.uint64(16 * piece)).astype(np.uint16)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        # Each hash against the one s places further, as long as that has the same piece.
        active, step = np.arange(len(order)), 0
        while len(active):
            step += 1
            active = active[active + step < len(order)]
            active = active[ordered[active] == ordered[active + step]]
            one, other = order[active], order[active + step]
            close = np.bitwise_count(phash[one] ^ phash[other]) <= bits
            one, other = one[close], other[close]
            close = np.bitwise_count(dhash[one] ^ dhash[other]) <= further
            if close.any():
                yield np.stack([one[close], other[close]], axis=1)


def _same(rows: np.ndarray) -> np.ndarray:
    """(n,) groups by content; an image that was not read is alone in its own."""
    keys = np.column_stack([rows["digest"], rows["bytes"].astype(np.uint64)])
    keys[~rows["read"], 0] = np.arange(np.count_nonzero(~rows["read"]))
    keys[~rows["read"], 2] = np.uint64(2**63)  # no file's size
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _partners(groups: np.ndarray, splits: np.ndarray, later: int, earlier: int) -> np.ndarray:
    """(n,) the first image of the earlier split in the group of each of the later, or -1."""
    first = np.full(int(groups.max(initial=-1)) + 1, -1, np.int64)
    there = np.flatnonzero(splits == earlier)[::-1]
    first[groups[there]] = there
    return np.where(splits == later, first[groups], -1)


def _alike(
    rows: np.ndarray, splits: np.ndarray, places: np.ndarray, pairs: list[tuple[int, int]]
) -> tuple[np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """Groups of alike images, and partners across splits, as in `Duplicates`."""
    groups = np.full(len(rows), -1, np.int64)
    found = {pair: np.full(len(rows), -1, np.int64) for pair in pairs}
    if not len(places):
        return groups, found
    hashes = np.column_stack([rows["phash"][places], rows["dhash"][places]])
    entries, of = np.unique(hashes, axis=0, return_inverse=True)
    of = of.reshape(-1)
    firsts = [_firsts(places, of, splits[places] == s, len(entries)) for s in range(_count(pairs))]
    partners = {pair: np.full(len(entries), -1, np.int64) for pair in pairs}
    for later, earlier in pairs:
        partners[later, earlier] = firsts[earlier].copy()  # of equal hashes
    joined = _Components(len(entries))
    for edges in near(entries[:, 0], entries[:, 1]):
        joined.add(edges)
        for _later, earlier in pairs:
            target = partners[_later, earlier]
            for one, other in ((0, 1), (1, 0)):
                there = firsts[earlier][edges[:, other]]
                new = (there >= 0) & (target[edges[:, one]] < 0)
                target[edges[new, one]] = there[new]
    groups[places] = joined.labels()[of]
    for (later, earlier), target in partners.items():
        mine = splits[places] == later
        found[later, earlier][places[mine]] = target[of[mine]]
    return groups, found


def _count(pairs: list[tuple[int, int]]) -> int:
    return max((later for later, _earlier in pairs), default=0) + 1


def _firsts(places: np.ndarray, of: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """(count,) the first chosen image of each entry, or -1."""
    first = np.full(count, -1, np.int64)
    there = np.flatnonzero(chosen)[::-1]
    first[of[there]] = places[there]
    return first


class _Components:
    """Groups of what edges join; many edges are replaced by the few that say the same."""

    def __init__(self, count: int) -> None:
        self._count, self._held = count, 0
        self._edges: list[np.ndarray] = []

    def add(self, edges: np.ndarray) -> None:
        self._edges.append(edges)
        self._held += len(edges)
        if self._held > _MOST_EDGES:
            labels = self.labels()
            first = np.unique(labels, return_index=True)[1]
            joined = np.flatnonzero(first[labels] != np.arange(self._count))
            self._edges = [np.stack([joined, first[labels][joined]], axis=1)]
            self._held = len(joined)

    def labels(self) -> np.ndarray:
        """(count,) number of each one's group."""
        edges = np.concatenate([np.zeros((0, 2), np.int64), *self._edges])
        ones = np.ones(len(edges), np.int8)
        graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(self._count, self._count))
        labels: np.ndarray = connected_components(graph, directed=False)[1]
        return labels.astype(np.int64)
