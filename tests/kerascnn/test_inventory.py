"""`kerascnn weights`: what there is, what is here, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from commands import assert_refused, here
from file_server import serving

from kerascnn.catalogue import ENTRIES
from kerascnn.weights import cache, inventory, published
from training.engine.refusals import checked
from training.engine.request import TrainRequest


def test_all_are_listed_by_network(tmp_path: Path) -> None:
    done = here("weights")
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["model", "weights", "source", "MB", "pixels", "top-1", "AP", "here"]
    shown = [line.split()[0] for line in lines[: len(published.ROWS)]]
    assert sorted(shown) == sorted(row.model for row in published.ROWS)
    assert list(dict.fromkeys(shown)) == [name for name in ENTRIES if published.rows(name)]
    assert f"in the cache, 0.0 MB: {cache.folder()}" in lines[-1]


def test_a_network_is_listed_with_its_backbone() -> None:
    done = here("weights", "ssdlite_mobilenet_v3_large")
    lines = [line.split() for line in done.stdout.splitlines()[1:9]]
    assert lines[0] == ["ssdlite_mobilenet_v3_large", "coco", "torchvision", "14.1", "320", "21.3"]
    assert [line[0] for line in lines[1:7]] == ["mobilenet_v3_large"] * 6
    done = here("weights", "mobilenet_v3_large", "imagenet", "--option", "minimalistic=true")
    assert done.stdout.splitlines()[1].split()[1:4] == ["imagenet", "with", "minimalistic=true"]


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["resnet51"], ("unknown model 'resnet51'; did you mean 'resnet5",)),
        (["resnet50", "imagnet"], ("no weights 'imagnet' for resnet50", "did you mean 'imagenet'")),
        (["lenet5"], ("nobody publishes weights of it by name",)),
        (["--fetch"], ("--fetch takes the NAME of a network",)),
        (["mobilenet_v2", "imagenet", "--option", "alpha=0.6"], ("with alpha=0.6; there are:",)),
        (["mobilenet_v2", "--option", "alpha=0.6"], ("no weights with alpha=0.6; there are:",)),
        (["mobilenet_v2", "--all"], ("--all is for --fetch without --option",)),
        (["mobilenet_v2", "--fetch", "--all", "--option", "alpha=0.5"], ("--all is for --fetch",)),
        # What a training with --weights imagenet needs.
        (["mobilenet_v2", "imagenet", "--fetch"], ("'imagenet' weights", "tf_kernels_1.0_224.h5")),
        (["mobilenet_v2", "--fetch", "--option", "alpha=0.35"], ("tf_kernels_0.35_224.h5",)),
        (["mobilenet_v2", "imagenet", "--fetch", "--all"], ("with alpha=1.4 weights",)),
        (["resnet50", "--fetch"], ("KERASCNN_OFFLINE is set; download https://download.pytorch",)),
    ],
)
def test_what_cannot_be_had_is_refused(arguments: list[str], culprits: tuple[str, ...]) -> None:
    assert_refused(here("weights", *arguments), *culprits)


def test_an_option_lists_what_is_for_it() -> None:
    done = here("weights", "mobilenet_v2", "--option", "alpha=0.35", "--json")
    assert [(row["name"], row["options"]) for row in json.loads(done.stdout)] == [
        (name, {"alpha": 0.35})
        for name in ("imagenet", "imagenet-192", "imagenet-160", "imagenet-128", "imagenet-96")
    ]


def test_without_options_the_files_of_the_network_without_options_are_meant() -> None:
    rows = inventory.selected("mobilenet_v2", default=True)
    assert {row.name for row in rows} == set(published.names("mobilenet_v2"))
    assert [row.options for row in rows] == [{}] * len(rows)
    assert inventory.selected("mobilenet_v2", "imagenet", default=True) == (
        published.choose("mobilenet_v2", "imagenet"),
    )


def test_files_are_fetched_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = published.choose("mobilenet_v1", "imagenet-128")
    assert row is not None
    body = b"weights" * 1000
    monkeypatch.delenv("KERASCNN_OFFLINE")
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path / "home"))
    asked = ["weights", "mobilenet_v1", row.name, "--option", "alpha=1.0"]
    with serving({f"/{row.source}/{row.file}": body}) as server:
        server.digest = "google"
        monkeypatch.setenv("KERASCNN_MIRROR", server.url)
        done = here(*asked, "--fetch", "--json")
        assert server.asked == [f"GET /{row.source}/{row.file}"]
    (told,) = json.loads(done.stdout)
    path = Path(told["path"])
    assert path.read_bytes() == body
    assert (told["state"], told["cached"], told["url"]) == ("cached", True, row.url)
    assert told["address"] == f"{server.url}/{row.source}/{row.file}"
    assert "downloading http://127.0.0.1" in done.stderr
    assert here(*asked, "--verify").returncode == 0
    path.write_bytes(body[:-1])
    done = here(*asked, "--verify")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].endswith(" damaged")
    assert f"{path} is not mobilenet_v1's {row.name!r} as published; delete it" in done.stderr


def test_a_verified_file_has_the_published_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERASCNN_HOME", str(tmp_path))
    row = published.choose("vgg16", "imagenet-keras")
    assert row is not None
    path = cache.path_of(row)
    words = ("nothing of vgg16 is in the cache", "kerascnn weights vgg16 --fetch")
    assert_refused(here("weights", "vgg16", "--verify"), *words)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert here("weights", "vgg16", "--verify").returncode == 1
    assert row.digest != f"md5:{hashlib.md5(b'').hexdigest()}"
    done = here("weights", "efficientnet_lite0", "imagenet", "--verify")
    assert done.stdout.splitlines()[1].endswith(" package")


def test_a_request_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERASCNN_OFFLINE")
    asked = checked("mobilenet_v2", data="mnist", weights="imagenet-v2")
    again = TrainRequest.from_dict(asked.to_dict())
    assert again.weights == "imagenet-v2"
    options = {"alpha": 0.35}
    narrow = checked("mobilenet_v2", data="mnist", weights="imagenet", model_options=options)
    assert narrow.to_dict()["weights"] == "imagenet"
