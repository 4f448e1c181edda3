"""Recipes: what the papers say, and that builders take what recipes ask of them."""

import importlib
import pathlib
import re

import pytest

import kerascnn
from kerascnn import zoo
from kerascnn.classification.efficientnet import EFFICIENTNETS
from kerascnn.classification.efficientnet_v2 import EFFICIENTNETS_V2
from kerascnn.errors import InputError
from training import recipes, tasks
from training.engine import options, schedules

OF_MAPS = ("scenes_maps", "segmentation", "segmentation_finetune")
OF_LABELS = ("multilabel", "multilabel_finetune")
OURS = (
    *("digits", "scenes_digits", "scratch", "finetune", "scenes", "detection"),
    "detection_finetune",
    *(*OF_MAPS, *OF_LABELS),
)
OF_DETECTORS = (
    *("scenes", "detection", "detection_finetune", "ssdlite", "efficientdet", "rtmdet", "rcnn"),
)
IMAGENET = 1_281_167


def model_of(name: str) -> str:
    """The model in the command of a recipe's docstring."""
    doc = importlib.import_module(f"training.recipes.{name}").__doc__
    found = re.search(r"^Command:  kerascnn train (\w+) ", doc, re.MULTILINE)
    return found[1] if found else "lenet5"


def rates(name: str, epochs: list[float], *, pictures: int = IMAGENET) -> list[float]:
    """Rates of a recipe at some epochs."""
    config = recipes.load(name).config
    steps = pictures // (config.batch_size * config.accumulate)
    return [schedules.rate_at(config, epoch, steps) for epoch in epochs]


def share_of_peak(name: str, epochs: list[float], *, pictures: int = IMAGENET) -> list[float]:
    peak = recipes.load(name).config.peak_learning_rate
    return [rate / peak for rate in rates(name, epochs, pictures=pictures)]


def test_every_file_is_listed():
    folder = pathlib.Path(recipes.__file__).parent
    assert sorted(recipes.NAMES) == sorted(
        path.stem for path in folder.glob("*.py") if path.stem != "__init__"
    )


def test_another_name_is_an_input_error():
    with pytest.raises(InputError, match="unknown recipe 'alexnett'"):
        recipes.load("alexnett")
    with pytest.raises(InputError, match="unknown recipe"):
        recipes.summary("__init__")


@pytest.mark.parametrize("name", recipes.NAMES)
def test_a_recipe_tells_command_hardware_and_score(name):
    doc = importlib.import_module(f"training.recipes.{name}").__doc__
    summary = recipes.summary(name)
    assert doc.startswith(summary)
    assert 20 < len(summary) <= 97
    assert summary.endswith(".")
    assert "\nCommand:  kerascnn " in doc
    assert "\nHardware, time and score: " in doc
    if name not in OURS:
        assert f" --recipe {name}" in doc
        assert "\nSource: " in doc


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_model_of_a_recipes_command_is_for_its_task(name):
    recipe = recipes.load(name)
    assert (recipe.task == "detection") == (name in OF_DETECTORS)
    assert (recipe.task == "segmentation") == (name in OF_MAPS)
    assert (recipe.task == "multilabel") == (name in OF_LABELS)
    own = tasks.of(recipe.task)
    assert zoo.entry(model_of(name)).task in (own.name, own.networks)


# Large networks; the names of their options are looked at below too.
LARGE = {"efficientnet", "efficientnet_v2", "googlenet", "modern", "modern_sgd", "resnet", "senet"}
LARGE |= {"mobilenet_v3", "vgg"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE))
        for name in sorted({*recipes.NAMES} - {*OF_DETECTORS, *OF_MAPS})
    ],
)
@pytest.mark.usefixtures("sized_alone")
def test_the_model_of_a_recipes_command_takes_its_options(name):
    recipe, model = recipes.load(name), model_of(name)
    assert recipe.config_for(model).epochs > 0
    channels = 1 if model == "lenet5" else 3
    built = kerascnn.build(
        model, input_shape=(32, 32, channels), classes=5, **recipe.options_for(model)
    )
    assert built.output_shape == (None, 5)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_all_that_a_recipe_says_of_single_models_holds_for_them(name):
    recipe = recipes.load(name)
    for model in {*recipe.model_config, *recipe.model_options}:
        recipe.config_for(model)
        assert set(recipe.options_for(model)) <= set(options.of_network(model))
    for model, taken in recipe.detector_options.items():
        assert zoo.entry(model).task == recipe.task
        assert zoo.detector_spec(model, **taken) != zoo.detector_spec(model)


@pytest.mark.parametrize("name", OF_DETECTORS)
@pytest.mark.parametrize("model", kerascnn.list_models("detection"))
def test_any_detector_trains_by_any_recipe_of_theirs(model, name):
    recipe = recipes.load(name)
    assert recipe.config_for(model).label_smoothing == 0
    own = recipe.model_options.get(model, {})
    assert set(recipe.options_for(model)) == {*recipe.options, *own}
    spec = zoo.detector_spec(model, **recipe.detector_options_for(model))
    assert spec.anchors.count > 1000


@pytest.mark.parametrize("name", OF_MAPS)
@pytest.mark.parametrize("model", kerascnn.list_models("segmentation"))
def test_any_segmentation_network_trains_by_any_recipe_of_theirs(model, name):
    recipe = recipes.load(name)
    config, taken = recipe.config_for(model), recipe.options_for(model)
    assert config.label_smoothing == 0
    assert config.map_loss == "cross_entropy_dice"
    assert set(taken) >= set(recipe.options)
    assert set(taken) <= set(options.of_network(model))


def test_who_names_no_recipe_gets_one_for_network_data_and_weights():
    for model, data, weights, name in (
        ("ssdlite_mobilenet_v2", "scenes:256@40+10", None, "scenes"),
        ("efficientdet_lite0", "scenes", "imagenet", "scenes"),
        ("efficientdet_lite0", "coco.json", "imagenet", "detection_finetune"),
        ("efficientdet_lite0", "mnist", None, "detection"),
        ("unet", "scenes:128", None, "scenes_maps"),
        ("unet_resnet50", "cells/", "imagenet", "segmentation_finetune"),
        ("unet_resnet50", "cells/", None, "segmentation"),
        ("lenet5", "mnist", None, "digits"),
        ("lenet5", "mnist-photos", None, "digits"),
        ("mobilenet_v2", "scenes-digits", None, "scenes_digits"),
        ("mobilenet_v2", "scenes-digits", "imagenet", "finetune"),
        ("mobilenet_v2", "flowers", None, "scratch"),
    ):
        assert recipes.default_name(model, data, weights) == name


def test_a_page_shows_what_is_otherwise_for_single_models():
    page = recipes.page("scenes")
    assert page.startswith("scenes: The embedded scenes")
    for text in (
        "learning_rate         0.002\n", "of the network\n  norm_momentum       0.95",
        "of ssdlite_mobilenet_v2's boxes\n  min_scale           0.1",
    ):  # fmt: skip
        assert text in page


@pytest.mark.parametrize("model", kerascnn.list_models("classification"))
def test_any_network_trains_the_modern_way(model):
    for name in ("modern", "modern_sgd", "cifar", "scratch", "finetune"):
        recipe = recipes.load(name)
        recipe.config_for(model)
        assert set(recipe.options_for(model)) <= set(options.of_network(model))


def test_options_for_all_models_go_to_those_that_have_them():
    recipe = recipes.Recipe(
        config=recipes.load("scratch").config,
        options={"drop_path": 0.1, "alpha": 0.5},
        model_options={"mobilenet_v2": {"alpha": 0.35}},
    )
    assert recipe.options_for("vgg16") == {}
    assert recipe.options_for("resnet50") == {"drop_path": 0.1}
    assert recipe.options_for("mobilenet_v2") == {"drop_path": 0.1, "alpha": 0.35}


@pytest.mark.parametrize(
    ("name", "batch", "rate"),
    [
        ("alexnet", 128, 0.01),
        ("vgg", 256, 0.01),
        ("googlenet", 32, 0.01),
        ("resnet", 256, 0.1),
        ("resnet_cifar", 128, 0.1),
        ("senet", 1024, 0.6),
        ("mobilenet_v2", 96, 0.045),
        ("mobilenet_v3", 4096, 0.1),
        ("efficientnet", 4096, 0.256),
        ("efficientnet_v2", 4096, 0.256),
        ("modern", 4096, 0.004),
        ("modern_sgd", 1024, 0.5),
        ("ssdlite", 192, 0.15),
        ("efficientdet", 64, 0.08),
        ("rtmdet", 256, 0.004),
        ("rcnn", 16, 0.02),
    ],
)
def test_the_papers_batch_has_the_papers_rate(name, batch, rate):
    config = recipes.load(name).config
    per_picture = config.peak_learning_rate / (config.batch_size * config.accumulate)
    assert per_picture * batch == pytest.approx(rate)


def test_lenets_five_rates_change_after_2_5_8_and_12_passes():
    papers = [0.0005, 0.0005, 0.0002, 0.0002, 0.0001, 0.0001, 0.00005, 0.00005, 0.00001, 0.00001]
    found = rates("lenet", [0, 1.9999, 2, 4.9999, 5, 7.9999, 8, 11.9999, 12, 19], pictures=60_000)
    assert found == pytest.approx([20 * rate for rate in papers])
    assert recipes.load("lenet").config.epochs == 20


def test_resnets_rates_at_30_60_and_90_epochs():
    found = rates("resnet", [0, 29.99, 30, 59.99, 60, 89.99, 90, 119])
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4])
    config = recipes.load("resnet").config
    assert config.epochs * IMAGENET / 256 == pytest.approx(600_000, rel=0.002)


def test_resnets_rates_on_cifar_change_within_an_epoch_of_32k_and_48k_iterations():
    config = recipes.load("resnet_cifar").config
    steps = 50_000 // 128
    made = schedules.schedule(config, steps, config.epochs)
    found = [float(made(step)) for step in (0, 31_609, 32_000, 47_609, 48_000, 63_959)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert abs(config.epochs * steps - 64_000) < steps


def test_senets_rates_fall_every_30_epochs_of_100():
    found = share_of_peak("senet", [0, 29.99, 30, 60, 90, 99])
    assert found == pytest.approx([1, 1, 0.1, 0.01, 0.001, 0.001])


def test_googlenets_rate_loses_4_percent_every_8_epochs():
    found = share_of_peak("googlenet", [0, 7.999, 8, 15.999, 16, 249])
    assert found == pytest.approx([1, 1, 0.96, 0.96, 0.96**2, 0.96**31])


def test_mobilenets_rates_fall_by_epochs():
    assert share_of_peak("mobilenet_v1", [0, 1.999, 2, 99]) == pytest.approx([1, 1, 0.94, 0.94**49])
    assert share_of_peak("mobilenet_v2", [0, 0.999, 1, 299]) == pytest.approx(
        [1, 1, 0.98, 0.98**299]
    )
    found = share_of_peak("mobilenet_v3", [5, 5.999, 6, 8.999, 9, 599])
    assert found == pytest.approx([0.99, 0.99, 0.99**2, 0.99**2, 0.99**3, 0.99**199])


def test_rcnns_rates_at_16_and_22_epochs_of_26():
    found = share_of_peak("rcnn", [0.16, 15.999, 16, 21.999, 22, 25], pictures=117_266)
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert recipes.load("rcnn").config.epochs == 26


@pytest.mark.parametrize("name", ["efficientnet", "efficientnet_v2"])
def test_efficientnets_decays_count_from_the_first_epoch_of_the_warmup(name):
    # The papers' code: 0.97 ** floor(epoch / 2.4), save for a straight line in the first 5. With
    # 5,000 batches an epoch 7.2 is the beginning of one.
    epochs = [0, 2.5, 4.999, 5, 7.1999, 7.2, 9.5999, 9.6, 349]
    found = share_of_peak(name, epochs, pictures=5000 * 256)
    expected = [0.04, 0.52, 1, 0.97**2, 0.97**2, 0.97**3, 0.97**3, 0.97**4, 0.97**145]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "warmup", "epochs"),
    [
        ("modern", 20, 300),
        ("modern_sgd", 5, 600),
        ("cifar", 5, 200),
        ("ssdlite", 1, 660),
        ("efficientdet", 1, 300),
        ("rtmdet", 2, 300),
    ],
)
def test_modern_rates_rise_and_fall_by_a_cosine(name, warmup, epochs):
    found = share_of_peak(name, [0, warmup, (warmup + epochs) / 2, epochs])
    assert found == pytest.approx([0.04, 1, 0.5, 0], abs=1e-3)


@pytest.mark.parametrize("name", ["alexnet", "vgg"])
def test_alexnet_and_vgg_have_three_reductions(name):
    config = recipes.load(name).config
    stale = [{"val_accuracy": 0.5, "val_loss": 1.0}]
    patience = int(config.decay_epochs)
    found = [
        (
            schedules.plateau_factor(config, stale * epochs),
            schedules.plateau_is_over(config, stale * epochs),
        )
        for epochs in (1 + patience * n for n in range(5))
    ]
    assert [factor for factor, _over in found] == pytest.approx([1, 0.1, 0.01, 0.001, 0.001])
    assert [over for _factor, over in found] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("lenet", 0.0),
        ("alexnet", 5e-4),
        ("vgg", 5e-4),
        ("googlenet", 2e-4),
        ("resnet", 1e-4),
        ("senet", 1e-4),
        ("mobilenet_v2", 4e-5),
        ("mobilenet_v3", 1e-5),
        ("efficientnet", 1e-5),
        ("modern_sgd", 2e-5),
        ("ssdlite", 4e-5),
        ("efficientdet", 4e-5),
        ("rcnn", 1e-4),
    ],
)
def test_the_papers_decay_is_a_part_of_the_gradient(name, decay):
    config = recipes.load(name).config
    assert config.weight_decay == decay
    assert config.decay == "l2" or not decay


def test_efficientnets_drop_what_the_papers_do():
    tables = {"efficientnet": EFFICIENTNETS, "efficientnet_v2": EFFICIENTNETS_V2}
    for name, model, dropout in (
        ("efficientnet", "efficientnet_b0", 0.2),
        ("efficientnet", "efficientnet_b7", 0.5),
        ("efficientnet_v2", "efficientnet_v2_s", 0.2),
        ("efficientnet_v2", "efficientnet_v2_l", 0.4),
    ):
        assert recipes.load(name).options_for(model) == {"drop_path": 0.2}
        assert tables[name][model].dropout == dropout


def test_mixup_grows_with_efficientnet_v2():
    recipe = recipes.load("efficientnet_v2")
    found = [recipe.config_for(f"efficientnet_v2_{size}").mixup for size in ("b3", "s", "m", "l")]
    assert found == [0, 0, 0.2, 0.5]
