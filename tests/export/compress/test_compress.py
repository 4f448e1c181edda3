"""From a trained run to verified files, described, resumable, and usable by `predict`."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import assert_refused, here
from marks import IN_CI
from PIL import Image
from scans import scans_of_commands

from export.artefacts import artefact
from export.artefacts.artefact import Artefact
from export.artefacts.description import DESCRIPTION, read_description, to_json
from export.artefacts.variants import DEFAULT, Variant, parse_variant
from export.compress.compress import _made, all_artefacts, compress
from export.report.compare import compare
from export.report.device_results import COLUMNS
from export.runtime import load as runtimes
from export.runtime.predict import answers
from export.runtime.selftest import verify as verify_file
from export.runtime.verify import Verdict, bounded, in_short, verified_of
from export.runtime.verify import verify as verify_outputs
from export.tasks.classification import Classification
from export.tflite import flatbuffer
from export.tflite.half_precision import round_to_half
from export.tflite.model import TFLiteModel
from kerascnn.errors import InputError
from training import datasets
from training.classification.evaluate import Evaluation
from training.common import atomic
from training.engine.run import Run


@pytest.fixture(scope="module")
def made(lenet_run: Run) -> list[Artefact]:
    return compress(lenet_run)[0]


def test_all_variants_fit_and_are_described(lenet_run: Run, made: list[Artefact]) -> None:
    names = [(a.info["variant"]["name"], a.path.suffix) for a in made]
    assert names == [(n, ".tflite") for n in DEFAULT] + [("float32", ".onnx")]
    for one in made:
        measured = one.info["evaluation"]
        assert measured["fits"], measured["rule"]
        assert measured["pictures"] == 1000
        assert one.preprocessing == lenet_run.preprocessing
        assert one.labels == tuple("0123456789")
        assert one.info["sha256"] == atomic.sha256(one.path)
        assert one.info["bytes"] == one.path.stat().st_size > one.info["download_bytes"]
        wrong = round(1000 * (1 - measured["value"] / 100))
        assert len(one.info["mistakes"]) == wrong
        recalls = [each["recall"] for each in measured["per_class"]]
        assert measured["balanced_accuracy"] == pytest.approx(sum(recalls) / 10)
        assert [each["pictures"] for each in measured["per_class"]] == measured["class_pictures"]
        assert [each["label"] for each in measured["per_class"]] == list("0123456789")
    trained, first = lenet_run.info["results"], made[0].info["evaluation"]
    for figure in ("balanced_accuracy", "majority_baseline"):
        assert trained[figure] == pytest.approx(first[figure])
    float32, int8 = (one.info["evaluation"] for one in (made[0], made[3]))
    assert float32["max_logit_diff"] < 1e-3
    assert abs(int8["value"] - int8["float_value"]) <= 0.5
    assert float32["partitions"] == int8["partitions"] == 1


def test_int8_takes_raw_bytes(lenet_run: Run, made: list[Artefact]) -> None:
    """Held against the interpreter itself, fed with pixels as they come from a file."""
    from ai_edge_litert.interpreter import Interpreter

    split = Classification(lenet_run).held_out
    assert split.pictures is not None
    runner = Interpreter(str(made[3].path)).get_signature_runner()
    right = 0
    for picture, label in zip(split.pictures[:200], split.labels[:200], strict=True):
        right += int(runner(image=picture[None])["logits"].argmax() == label)
    assert right >= 180


@IN_CI
def test_existing_files_are_kept_and_damaged_ones_made_again(
    lenet_run: Run, made: list[Artefact]
) -> None:
    before = {a.path: a.path.stat().st_mtime_ns for a in made}
    assert compress(lenet_run)[1] is False
    whole = made[3].path.read_bytes()
    made[3].path.write_bytes(whole[:1000])
    artefact.sidecar(made[1].path).unlink()
    again, new = compress(lenet_run)
    assert new
    assert [a.info["sha256"] for a in again] == [a.info["sha256"] for a in made]
    changed = {a.path.name for a in again if a.path.stat().st_mtime_ns != before[a.path]}
    assert changed == {"int8.tflite", "float16.tflite"}


def test_a_file_alone_says_the_same(made: list[Artefact]) -> None:
    for one in made:
        told = read_description(one.path)
        assert told["task"] == "classification"
        assert told["decoding"] == {"kind": "logits"}
        assert told["variant"] == one.info["variant"]["name"]
        assert told["labels"] == one.info["labels"]
        assert {key: told["input"][key] for key in ("name", "type", "values")} == {
            key: one.info["input"][key] for key in ("name", "type", "values")
        }
        assert told["input"]["colour"] == "grey"
        assert one.info["output"].items() <= told["outputs"][0].items()


def test_every_file_carries_what_it_answers(made: list[Artefact]) -> None:
    for one in made:
        told = read_description(one.path)
        test = told["selftest"]
        assert test == one.info["selftest"]
        assert len(to_json({"selftest": test}).encode()) < 1000
        assert test["runtime"].startswith("ONNX" if one.path.suffix == ".onnx" else "LiteRT")
        assert ("float" in test) == (one.path.stem not in ("float32", "float16"))
        assert test.get("float", 0) < 0.2
        found = verify_file(one.path, told)
        assert found is not None
        assert found.difference < 1e-4, one.path.name


def test_altered_weights_are_told_by_how_much(made: list[Artefact], tmp_path: Path) -> None:
    path = tmp_path / "altered.tflite"
    described = read_description(made[0].path)
    differences = []
    for factor in (1.0, 1.05, 1.5):
        model = TFLiteModel.open(made[0].path.read_bytes())
        kernels = max(
            model.unpacked.buffers, key=lambda one: 0 if one.data is None else len(one.data)
        )
        kernels.data = (kernels.data.view(np.float32) * np.float32(factor)).view(np.uint8)
        model.compact()
        model.stored = {DESCRIPTION: to_json(described)}
        path.write_bytes(model.packed())
        found = verify_file(path, read_description(path))
        assert found is not None
        differences.append(found.difference)
        assert found.verified == (factor == 1)
    assert differences[0] < 1e-4 < differences[1] < differences[2]
    done = here("info", path, "--verify")
    assert done.returncode == 1, done.stderr
    assert "self-test   differs (" in done.stdout
    told = json.loads(here("info", path, "--verify", "--json").stdout)["verified"]
    assert told["difference"] == pytest.approx(differences[2])
    assert (told["verified"], told["tolerance"]) == (False, described["selftest"]["tolerance"])
    done = here("info", made[0].path, "--verify")
    assert done.returncode == 0, done.stderr
    assert "self-test   verified (" in done.stdout


def test_a_file_that_does_not_run_here_is_written_without_a_self_test(
    lenet_run: Run, made: list[Artefact], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def refuse(*_given: Any) -> None:
        raise RuntimeError("an operation is missing")

    task, variant = Classification(lenet_run), parse_variant("float32")
    bare = flatbuffer.write(flatbuffer.read(made[0].path.read_bytes()))
    tested = task.finished(TFLiteModel.open(bare), ".tflite", variant)
    monkeypatch.setattr("export.runtime.selftest.answers", refuse)
    untested = task.finished(TFLiteModel.open(bare), ".tflite", variant)
    assert "float32.tflite: no self-test inside, as it did not run (an operation is missing)" in (
        capsys.readouterr().err
    )
    # Of the graph and its weights no bit is another.
    graph = untested[: untested.index(b"PK\x03\x04")]
    assert tested.startswith(graph)
    grown = f',"selftest":{to_json(made[0].info["selftest"])}'
    assert len(tested) - len(untested) == len(grown)


@IN_CI
def test_author_and_licence_are_in_all_files_from_then_on(
    lenet_run: Run, made, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(lenet_run.folder, copy)
    command = ("compress", copy, "--variants", "float32", "--no-onnx")
    before = read_description(copy / "artefacts" / "float32.tflite")
    assert (before["author"], before["license"]) == ("", "")
    assert_refused(here(*command, "--author", "a\nb"), "author")
    done = here(*command, "--author", "Jo Doe", "--license", "MIT")
    assert done.returncode == 0, done.stderr
    after = read_description(copy / "artefacts" / "float32.tflite")
    # Of another author it is the same network.
    assert after == before | {"author": "Jo Doe", "license": "MIT"}
    shown = here("info", copy / "artefacts" / "float32.tflite").stdout
    assert "author      Jo Doe\nlicence     MIT\n" in shown
    later = compress(Run.open(copy), ["dynamic_int8"], onnx=False)[0]
    assert read_description(later[0].path)["author"] == later[0].info["author"] == "Jo Doe"


def test_files_of_another_model_are_not_listed(lenet_run: Run, made, tmp_path: Path) -> None:
    copy = Run(tmp_path / "copy", lenet_run.info)
    shutil.copytree(lenet_run.folder, copy.folder)
    model = copy.load_model()
    model.get_layer("logits").set_weights([w + 1 for w in model.get_layer("logits").get_weights()])
    model.save(copy.model_path)
    assert all_artefacts(copy) == []


def test_changed_data_is_refused(lenet_run: Run, tmp_path: Path) -> None:
    info = json.loads(json.dumps(lenet_run.info))
    info["dataset"]["fingerprint"] = "0"
    with pytest.raises(InputError, match="mnist is not the data"):
        _ = Classification(Run(tmp_path, info)).held_out


def test_unknown_variant_offers_the_closest(lenet_run: Run) -> None:
    with pytest.raises(InputError, match="did you mean 'weight_int4'"):
        compress(lenet_run, ["wieght_int4"])


@pytest.mark.parametrize("name", ["float32.tflite", "int8.tflite", "float32.onnx", "model.keras"])
def test_predict_from_every_kind_of_file(lenet_run: Run, made, name: str, tmp_path: Path) -> None:
    split = Classification(lenet_run).held_out
    assert split.pictures is not None
    images = []
    for index in range(0, 100, 5):
        path = tmp_path / f"{index}.png"
        Image.fromarray(split.pictures[index, ..., 0]).convert("RGBA").save(path)
        images.append(str(path))
    folder = lenet_run.folder if name == "model.keras" else lenet_run.artefacts
    found = list(answers(folder / name, images, top=3))
    truths = [str(split.labels[int(Path(image).stem)]) for image in images]
    assert sum(p.labels[0][0] == t for p, t in zip(found, truths, strict=True)) >= 17
    assert all(1 >= p.labels[0][1] >= p.labels[1][1] >= p.labels[2][1] >= 0 for p in found)


def test_predict_and_compare_as_commands(lenet_run: Run, made, tmp_path: Path) -> None:
    split = Classification(lenet_run).held_out
    assert split.pictures is not None
    (tmp_path / "broken.png").write_text("no picture")
    Image.fromarray(split.pictures[0, ..., 0]).save(tmp_path / "digit.png")
    truth = str(split.labels[0])
    done = here("predict", made[3].path, "digit.png", "--top", 2, cwd=tmp_path)
    assert done.stdout.startswith(f"digit.png: {truth} "), done.stderr
    told = here("predict", made[3].path, "digit.png", "--json", cwd=tmp_path)
    listed = json.loads(told.stdout)
    assert [row["image"] for row in listed] == ["digit.png"]
    assert [label["label"] for label in listed[0]["labels"]] == [truth]
    refused = here("predict", made[3].path, "digit.png", "broken.png", cwd=tmp_path)
    assert_refused(refused, "1 image of 2 could not be read")
    assert "broken.png is not a readable" in refused.stderr
    assert refused.stdout == done.stdout.partition(",")[0] + "\n"

    done = here("compare", lenet_run.folder, "-o", "page.html", "--json", cwd=tmp_path)
    compared = json.loads(done.stdout)
    assert [row["sha256"] for row in compared["results"]] == [
        a.info["sha256"] for a in all_artefacts(lenet_run)
    ]
    assert set(compared["best"]) == {"smallest", "fastest", "most accurate"}
    assert (tmp_path / compared["report"]).is_file()


def test_a_file_alone_predicts_as_it_does_beside_its_json(
    lenet_run: Run, made: list[Artefact], tmp_path: Path
) -> None:
    split = Classification(lenet_run).held_out
    assert split.pictures is not None
    Image.fromarray(split.pictures[0][..., 0]).save(tmp_path / "digit.png")
    for one in made:
        alone = shutil.copy(one.path, tmp_path / one.path.name)
        (found,) = answers(alone, [str(tmp_path / "digit.png")], top=10)
        (beside,) = answers(one.path, [str(tmp_path / "digit.png")], top=10)
        assert found == beside
        assert found.labels[0][0] == str(split.labels[0])


def test_a_changed_file_is_told_from_one_without_a_description(
    made: list[Artefact], tmp_path: Path
) -> None:
    for name, at in (("float32.tflite", -100_000), ("float32.onnx", 5_000)):
        (one,) = [each for each in made if each.path.name == name]
        for each in (one.path, artefact.sidecar(one.path)):
            shutil.copy(each, tmp_path)
        copy = tmp_path / name
        flipped = bytearray(copy.read_bytes())
        flipped[at] ^= 1
        copy.write_bytes(flipped)
        with pytest.raises(InputError, match=r"does not have the SHA-256 .* damaged, or was repl"):
            list(answers(copy, ["x.png"]))


def test_a_file_without_a_description_needs_the_json(made: list[Artefact], tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(flatbuffer.write(flatbuffer.read(made[0].path.read_bytes())))
    with pytest.raises(InputError, match=r"bare\.json is missing"):
        list(answers(bare, ["x.png"]))
    Image.new("L", (28, 28)).save(tmp_path / "x.png")
    told = {**made[0].info, "sha256": atomic.sha256(bare)}
    artefact.sidecar(bare).write_text(json.dumps(told))
    assert len(list(answers(bare, [str(tmp_path / "x.png")]))) == 1
    artefact.sidecar(bare).write_text(json.dumps(made[0].info))
    with pytest.raises(InputError, match="does not have the SHA-256 that"):
        list(answers(bare, ["x.png"]))
    with pytest.raises(InputError, match=r"x\.png"):
        list(answers(made[0].path, ["x.png"]))


def test_a_file_that_is_no_model_is_refused(lenet_run: Run, tmp_path: Path) -> None:
    for name in ("x.tflite", "x.onnx", "x.keras"):
        path = tmp_path / name
        path.write_bytes(b"no model" * 100)
        with pytest.raises(InputError, match=name):
            runtimes.load(path, lenet_run.preprocessing)


def test_comparison_writes_all_three_files(lenet_run: Run, made, tmp_path: Path) -> None:
    rows = compare([lenet_run], tmp_path / "page.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.csv", "page.html", "page.png"]
    assert [r.sha256 for r in rows] == [a.info["sha256"] for a in all_artefacts(lenet_run)]
    assert all(0 < r.latency_ms <= r.latency_p95_ms for r in rows)
    lines = (tmp_path / "page.csv").read_text().splitlines()
    assert len(lines) == 1 + len(made)


def test_a_phone_s_figures_stand_in_the_report(lenet_run: Run, made, tmp_path: Path) -> None:
    """As the Android demo shares them; a line of a file that is not here is named."""
    line: dict[str, object] = dict.fromkeys(COLUMNS, "") | {
        "model": "lenet5",
        "variant": "int8",
        "bytes": made[3].info["bytes"],
        "latency_ms": 0.25,
        "latency_p95_ms": 0.5,
        "threads": 1,
        "device": "a phone",
        "accelerator": "CPU",
    }
    others = [{"sha256": made[3].info["sha256"], "threads": 2}, {"variant": "int4"}]
    path = tmp_path / "phone.csv"
    atomic.write_csv(path, COLUMNS, [list((line | other).values()) for other in ({}, *others)])
    command = ("compare", lenet_run.folder, "-o", "page.html", "--device", path)
    done = here(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    warning = f"kerascnn: warning: {path}, line 4: no file here is lenet5 int4"
    assert done.stderr.strip().splitlines()[-1].startswith(warning)
    text = (tmp_path / "page.html").read_text()
    assert "Accuracy against latency on a phone, CPU, 1 thread<" in text
    assert "Accuracy against latency on a phone, CPU, 2 threads<" in text
    with (tmp_path / "page.csv").open(newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert [row["threads"] for row in listed if row["device"] == "a phone"] == ["1", "2"]
    assert len(listed) == len(made) + 2

    atomic.write_csv(path, COLUMNS, [list((line | others[1]).values())])
    assert_refused(here(*command, cwd=tmp_path), "has results of none of these files")
    atomic.write_csv(path, COLUMNS, [list((line | {"threads": "x"}).values())])
    assert_refused(here(*command, cwd=tmp_path), "phone.csv, line 2: column 'threads'")
    path.unlink()
    assert_refused(here(*command, cwd=tmp_path), "phone.csv: no such file")


@IN_CI
def test_runs_of_one_name_are_told_apart_and_one_run_is_taken_once(
    lenet_run: Run, made, tmp_path: Path
) -> None:
    folders = [tmp_path / parent / "lenet5" for parent in ("a", "b")]
    for folder in folders:
        shutil.copytree(lenet_run.folder, folder)
    runs = [Run.open(folder) for folder in folders]
    rows = compare([*runs, runs[0]], tmp_path / "page.html")
    names = [r.run for r in rows]
    assert names == ["a/lenet5"] * len(made) + ["b/lenet5"] * len(made)
    assert "b/lenet5 int8" in {r.label for r in rows}


@IN_CI
def test_the_data_is_scanned_once_a_command(
    lenet_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scans_of_commands(lenet_run, tmp_path, monkeypatch, datasets, "scan") == [1, 1]


def test_runs_of_different_pictures_are_not_compared(lenet_run: Run, made, tmp_path: Path) -> None:
    info = json.loads(json.dumps(lenet_run.info))
    info["dataset"]["fingerprint"] = "0"
    other = Run(lenet_run.folder, info)
    with pytest.raises(InputError, match="different images"):
        compare([lenet_run, other], tmp_path / "page.html")


def verify(
    variant: Variant,
    logits: np.ndarray,
    keras_logits: np.ndarray,
    half: np.ndarray | None = None,
    truth: np.ndarray | None = None,
) -> Verdict:
    """Of logits, all of which are kept."""
    labels = np.zeros(len(logits), int) if truth is None else truth
    file, network = (Evaluation.of(x, labels).outputs for x in (logits, keras_logits))
    rounded = None if half is None else Evaluation.of(half, labels).outputs
    return verify_outputs(variant, file, network, rounded, truth)


def test_verdicts() -> None:
    keras_logits = np.eye(4, dtype=np.float32) * 5
    off = keras_logits + np.float32(2e-3)
    assert not verify(parse_variant("float32"), off, keras_logits).is_verified
    assert verify(
        parse_variant("float32"), keras_logits + np.float32(5e-4), keras_logits
    ).is_verified
    assert verify(parse_variant("int8"), off, keras_logits).is_verified
    turned = verify(parse_variant("int8"), keras_logits[::-1], keras_logits)
    assert not turned.is_verified
    assert turned.agreement == 0
    assert verify(parse_variant("float16"), off, keras_logits, off).is_verified
    assert not verify(parse_variant("float16"), keras_logits, keras_logits, off).is_verified
    assert not verify(parse_variant("int8"), keras_logits * np.nan, keras_logits).is_verified
    no_numbers = verify(parse_variant("int8"), keras_logits, keras_logits * np.nan)
    assert no_numbers.verified == "no"
    assert "some logits of Keras are not numbers" in no_numbers.rule


def test_why_a_file_is_not_verified_is_told_in_short() -> None:
    same = np.zeros((4, 4), np.float32)
    found = verify(parse_variant("float32"), same, same)
    assert found.verified == "not verified"
    told = "the held-out images do not tell"
    assert in_short(found.to_dict()) == f"{told}: no two images differ by more"
    of_answers = verify(parse_variant("int8"), same, same)
    assert in_short(of_answers.to_dict()) == f"{told}: they are all of one class"
    info = {"bytes": 62400, "evaluation": {"metric": "accuracy", "value": 97.2, **found.to_dict()}}
    line = _made(Artefact(path=Path("float32.tflite"), info=info))
    assert line.endswith(f"verified: not verified ({told}: no two images differ by more)")


def logits_of(answers: np.ndarray, classes: int = 2) -> np.ndarray:
    """(n, classes), a little different for each picture."""
    return np.eye(classes, dtype=np.float32)[answers] + np.arange(len(answers))[:, None] / 1e4


def test_a_constant_file_on_a_set_of_one_common_class_is_not_verified() -> None:
    """96% of the pictures are of one class; so constant answers have 96% of them right."""
    int8 = parse_variant("int8")
    truth = np.repeat([0, 1], [96, 4])
    keras, constant = logits_of(truth), logits_of(np.zeros(100, int))
    verdict = verify(int8, constant, keras, None, truth)
    assert (verdict.verified, verdict.is_verified, verdict.agreement) == ("no", False, 96)
    assert "0.0% outside of its commonest answer" in verdict.rule
    assert "50.0% in the mean of 2 classes" in verdict.rule
    # However few there are of the other class.
    for others in (1, 2, 3):
        some = logits_of(np.repeat([0, 1], [100 - others, others]))
        assert verify(int8, constant, some).verified == "no"
    # Three of the four are as many as four can tell; so is one of the common ones.
    for changed, verified in ((96, "yes"), (0, "yes")):
        answers = truth.copy()
        answers[changed] = 1 - answers[changed]
        assert verify(int8, logits_of(answers), keras, None, truth).verified == verified
    # Keras gives one answer alone: nothing shows that the file tells classes apart.
    verdict = verify(int8, constant, constant)
    assert (verdict.verified, verdict.is_verified) == ("not verified", False)
    assert "all of one class" in verdict.rule
    assert verify(int8, keras, constant).verified == "not verified"


def test_a_file_that_has_lost_a_rare_class_is_not_verified() -> None:
    """Of 60, 36 and 4 pictures the four are taken for the first class: 96% are answered alike."""
    wanted = np.repeat([0, 1, 2], [60, 36, 4])
    found = np.where(wanted == 2, 0, wanted)
    verdict = verify(parse_variant("int8"), logits_of(found, 3), logits_of(wanted, 3))
    assert (verdict.verified, verdict.agreement) == ("no", 96)
    assert "90.0% outside of its commonest answer" in verdict.rule
    assert "66.7% in the mean of 3 classes, at least 81.1%" in verdict.rule


def test_equal_logits_of_a_network_that_sees_nothing_are_not_verified() -> None:
    blind = np.tile(np.array([[0.3, 0.1]], np.float32), (5, 1))
    verdict = verify(parse_variant("float32"), blind, blind)
    assert verdict.verified == "not verified"
    assert "no two images differ by more" in verdict.rule
    assert verify(parse_variant("float32"), blind + 1, blind).verified == "no"


def test_a_drop_beyond_the_bound_is_never_verified() -> None:
    """All changed answers were right before: accuracy falls by as much as answers change."""
    verdict = Verdict(verified="yes", agreement=100.0, max_logit_diff=0.0, rule="alike")
    assert bounded(verdict, "AP", 5.0, lambda: (4.0, 6.0)) is verdict
    assert bounded(verdict, "AP", -50.0, lambda: (-60.0, -40.0)) is verdict
    assert bounded(verdict, "AP", float("nan"), lambda: (0.0, 0.0)) is verdict
    unsure, sure = (bounded(verdict, "AP", 6.5, lambda low=low: (low, 9.0)) for low in (3.0, 5.5))
    assert (unsure.verified, sure.verified) == ("not verified", "no")
    assert sure.rule == "alike; but AP is 6.5 points lower (5.5 to 9.0), at most 5"
    no = dataclasses.replace(verdict, verified="no")
    assert bounded(no, "AP", 6.5, lambda: (0.0, 9.0)) is no


def test_a_json_has_both_words() -> None:
    verdict = Verdict(verified="not verified", agreement=100.0, max_logit_diff=0.0, rule="few")
    told = verdict.to_dict()
    assert (told["fits"], told["verified"]) == (False, "not verified")
    assert verified_of(told) == "not verified"
    assert [verified_of({"fits": one}) for one in (True, False)] == ["yes", "no"]


def test_half_precision_rounds_kernels_alone(made) -> None:
    from export.tflite import flatbuffer

    before = flatbuffer.read(made[0].path.read_bytes())
    after = flatbuffer.read(TFLiteModel.edited(made[0].path.read_bytes(), round_to_half))
    changed = [
        len(t.shape)
        for t in before.subgraphs[0].tensors
        if before.buffers[t.buffer].data is not None
        and not np.array_equal(before.buffers[t.buffer].data, after.buffers[t.buffer].data)
    ]
    assert len(changed) == 5
    assert min(changed) == 2
