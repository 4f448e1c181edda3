"""Images that are there twice: the search against brute force, and groups of thousands."""

from __future__ import annotations

import numpy as np
import pytest

from training.tools.check import duplicates
from training.tools.check.duplicates import near
from training.tools.check.look import LOOK, look_at_pixels


def hashes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random hashes, half of which are others with some bits turned over."""
    rng = np.random.default_rng(seed)
    both = rng.integers(0, 2**64, (2, count), dtype=np.uint64)
    half = count // 2
    for row in both:
        row[half : 2 * half] = row[:half]
        for _ in range(5):
            bits = np.left_shift(np.uint64(1), rng.integers(0, 64, half).astype(np.uint64))
            row[half : 2 * half] ^= np.where(rng.random(half) < 0.5, bits, np.uint64(0))
    return both[0], both[1]


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_those_of_brute_force(seed: int) -> None:
    phash, dhash = hashes(700, seed)
    apart = np.bitwise_count(phash[:, None] ^ phash[None])
    further = np.bitwise_count(dhash[:, None] ^ dhash[None])
    close = np.triu((apart <= duplicates.PHASH_BITS) & (further <= duplicates.DHASH_BITS), 1)
    expected = set(zip(*np.nonzero(close), strict=True))
    found = {tuple(sorted(pair)) for block in near(phash, dhash) for pair in block.tolist()}
    assert found == expected
    assert len(expected) > 100


def test_more_bits_than_pieces_find_are_refused() -> None:
    with pytest.raises(ValueError, match="4 pieces"):
        list(near(np.zeros(2, np.uint64), np.zeros(2, np.uint64), bits=4))


def rows(count: int) -> np.ndarray:
    made = np.zeros(count, LOOK)
    made["read"], made["height"], made["width"] = True, 64, 64
    rng = np.random.default_rng(4)
    for name in ("phash", "dhash"):
        made[name] = rng.integers(0, 2**64, count, dtype=np.uint64)
    made["digest"] = rng.integers(0, 2**64, (count, 2), dtype=np.uint64)
    return made


def test_partners_across_splits() -> None:
    made = rows(8)
    splits = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    made["digest"][4] = made["digest"][1]  # the same bytes
    made[["phash", "dhash"]][4] = made[["phash", "dhash"]][1]
    made["phash"][5] = made["phash"][2] ^ np.uint64(0b111)  # alike
    made["dhash"][5] = made["dhash"][2]
    made["phash"][6] = made["phash"][3] ^ np.uint64(0b1111)  # one bit too many
    made["dhash"][6] = made["dhash"][3]
    found = duplicates.find(made, splits)
    assert found.across[1, 0].tolist() == [-1, -1, -1, -1, 1, -1, -1, -1]
    assert found.alike_across[1, 0].tolist() == [-1, -1, -1, -1, -1, 2, -1, -1]
    assert found.alike[5] == found.alike[2]
    assert found.alike[6] != found.alike[3]


def test_what_is_blank_small_or_broken_is_not_alike() -> None:
    made = rows(6)
    for name in ("phash", "dhash"):
        made[name] = made[name][0]
    made["blank"][:2], made["height"][2:4], made["read"][4:] = True, 31, False
    found = duplicates.find(made, np.zeros(6, int))
    assert (found.alike == -1).all()
    assert len(set(found.same.tolist())) == 6


def test_thousands_of_equal_hashes_cost_no_more_than_one() -> None:
    made = rows(30_000)
    for name in ("phash", "dhash"):
        made[name][10_000:] = made[name][0]
    found = duplicates.find(made, np.arange(30_000) % 2)
    assert (found.alike[10_000:] == found.alike[0]).all()
    assert len(set(found.alike.tolist())) == 10_000


def test_many_edges_keep_their_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film: each frame is like the next, and no memory holds all pairs."""
    monkeypatch.setattr(duplicates, "_MOST_EDGES", 50)
    made = rows(3000)
    made["dhash"] = 0
    made["phash"] = np.repeat(np.arange(1000, dtype=np.uint64), 3) << np.uint64(20)
    found = duplicates.find(made, np.zeros(3000, int))
    assert len(set(found.alike.tolist())) == 1  # every number is a bit away from another one


def test_hashes_see_through_size_and_brightness() -> None:
    rng = np.random.default_rng(5)
    small = np.kron(rng.integers(0, 200, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    one, half, bright, other = (
        look_at_pixels(picture)
        for picture in (small, small[::2, ::2], small + 20, small[::-1].copy())
    )
    for like in (half, bright):
        assert np.bitwise_count(one["phash"] ^ like["phash"]) <= duplicates.PHASH_BITS
        assert np.bitwise_count(one["dhash"] ^ like["dhash"]) <= duplicates.DHASH_BITS
    assert np.bitwise_count(one["phash"] ^ other["phash"]) > 10
