"""Models that were built in any way, as plain networks with equal answers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from networks import with_random_norms

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.importing import graph as graphs
from training.importing.plain import PlainNetwork, plain

SIZE = 32
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
CAFFE = {"mean": (103.939, 116.779, 123.68), "std": 1.0, "order": "bgr"}


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def bytes_of_noise(height: int = SIZE, width: int = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (2, height, width, channels), np.uint8)


def answers(found: PlainNetwork, images: np.ndarray) -> np.ndarray:
    """Of bytes, after the activation."""
    given = found.preprocessing.normalise(images) if found.preprocessing else images
    logits = found.model(given.astype(np.float32), training=False)
    function = getattr(keras.ops, found.activation) if found.activation else np.asarray
    return np.asarray(function(logits))


def require_plain(network: keras.Model) -> None:
    names = [layer.name for layer in network.layers]
    assert not [layer for layer in network.layers if isinstance(layer, keras.Model)]
    assert len(set(names)) == len(names)
    assert "logits" in names
    assert "stem" in names
    assert len(network.output_shape) == 2


def features(size: int | None = SIZE) -> keras.Model:
    """A small backbone with norms, dropout and a residual, of the depth two of nesting."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    inner = keras.Sequential([
        layers.Conv2D(8, 1, name="conv"), layers.BatchNormalization(name="norm"),
        layers.Dropout(0.2, noise_shape=(None, 1, 1, 1)),
    ], name="inner")  # fmt: skip
    x = layers.Add(name="add")([x, inner(x)])
    model = keras.Model(inputs, x, name="backbone")
    with_random_norms(inner)
    return with_random_norms(model)


def transfer(front, classes: int = 4, activation: str | None = "softmax") -> keras.Model:
    """As the guides of Keras make one."""
    base = features()
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augment")(inputs)
    x = base(front(x), training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(classes, activation=activation, name="predictions")(x)
    return keras.Model(inputs, outputs, name="transfer")


FRONTS = {
    "mobilenet_v2": (keras.applications.mobilenet_v2.preprocess_input,
                     {"mean": 127.5, "std": 127.5}),
    "resnet": (keras.applications.resnet.preprocess_input, CAFFE),
    "densenet": (keras.applications.densenet.preprocess_input, IMAGENET),
    "rescaling": (layers.Rescaling(1 / 127.5, offset=-1), {"mean": 127.5, "std": 127.5}),
    "by_channel": (
        layers.Rescaling([1 / 51, 1 / 85, 1 / 255], [-1.0, 0.0, -0.5]),
        {"mean": (51.0, 0.0, 127.5), "std": (51.0, 85.0, 255.0)},
    ),
    "two": (
        lambda x: layers.Normalization(mean=[0.485, 0.456, 0.406],
                                       variance=[0.229**2, 0.224**2, 0.225**2])(
            layers.Rescaling(1 / 255)(x)),
        IMAGENET,
    ),
    # What makes small numbers larger was fed with small ones.
    "from_0_1": (
        layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2]),
        IMAGENET,
    ),
    "to_bytes": (layers.Rescaling(127.5, offset=127.5), {"mean": 0.0, "std": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", FRONTS)
def test_a_transfer_learning_model_becomes_one_graph_from_bytes_to_logits(name):
    front, wanted = FRONTS[name]
    model = transfer(front)

    found = plain(model)

    require_plain(found.model)
    assert found.activation == "softmax"
    if name == "to_bytes":
        assert found.preprocessing is None
    else:
        assert found.preprocessing == Preprocessing(
            height=SIZE, width=SIZE, channels=3, resize="stretch", **wanted
        )
    images = bytes_of_noise()
    outside = {"from_0_1": lambda x: x / 255, "to_bytes": lambda x: x / 127.5 - 1}.get(name, float)
    given = images.astype(np.float32)
    given = given if outside is float else outside(given)
    difference = np.abs(answers(found, images) - np.asarray(model(given, training=False)))
    assert difference.max() < 1e-5
    kinds = {type(layer).__name__ for layer in found.model.layers}
    assert kinds == {
        "InputLayer", "Conv2D", "BatchNormalization", "ReLU", "Dropout", "Add",
        "GlobalAveragePooling2D", "Dense",
    }  # fmt: skip


def test_weights_names_and_flags_are_those_of_the_layers_inside():
    model = transfer(layers.Rescaling(1 / 127.5, offset=-1))
    found = plain(model).model
    base = model.get_layer("backbone")
    pairs = {
        "stem": base.get_layer("conv"),
        "norm": base.get_layer("norm"),
        "inner_conv": base.get_layer("inner").get_layer("conv"),
        "inner_norm": base.get_layer("inner").get_layer("norm"),
        "logits": model.get_layer("predictions"),
    }
    for name, layer in pairs.items():
        ours = found.get_layer(name)
        assert ours is not layer
        assert ours.trainable == layer.trainable
        for one, other in zip(ours.get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not found.get_layer("stem").trainable
    assert found.get_layer("logits").trainable


def test_a_wrong_weight_is_noticed(monkeypatch):
    model = transfer(layers.Rescaling(1 / 127.5, offset=-1))
    fill = graphs.fill

    def spoilt(step, operation, *change):
        fill(step, operation, *change)
        if operation.name == "inner_conv":
            operation.set_weights([one + 1e-2 for one in operation.get_weights()])

    monkeypatch.setattr(graphs, "fill", spoilt)
    with pytest.raises(InputError, match=r"differ by 0\.\d+ on an image of noise"):
        plain(model)


def small(*end: keras.Layer, size: tuple[int | None, int | None] = (8, 8)) -> keras.Model:
    """A convolution and what stands behind it."""
    inputs = keras.Input((*size, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu", name="conv")(inputs)
    for layer in end:
        x = layer(x)
    return keras.Model(inputs, x, name="small")


pool = layers.GlobalAveragePooling2D
# Of each end: what is told of it, and how many logits there are.
ENDS = {
    "softmax inside": (lambda: [pool(), layers.Dense(4, activation="softmax")], "softmax", 4),
    "activation": (lambda: [pool(), layers.Dense(4), layers.Activation("softmax")], "softmax", 4),
    "softmax": (lambda: [pool(), layers.Dense(4), layers.Softmax()], "softmax", 4),
    "operation": (lambda: [pool(), layers.Dense(4), keras.ops.softmax], "softmax", 4),
    "float32 behind": (
        lambda: [pool(), layers.Dense(4), layers.Softmax(),
                 layers.Activation("linear", dtype="float32")], "softmax", 4,
    ),
    "mobilenet": (
        lambda: [pool(keepdims=True), layers.Conv2D(4, 1, padding="same"), layers.Reshape((4,)),
                 layers.Activation("softmax")], "softmax", 4,
    ),
    "softmax of one pixel": (
        lambda: [pool(keepdims=True), layers.Conv2D(4, 1, activation="softmax"), layers.Flatten()],
        "softmax", 4,
    ),
    "squeezenet": (lambda: [layers.Conv2D(4, 1), pool(), layers.Softmax()], "softmax", 4),
    "one pixel": (lambda: [pool(keepdims=True), layers.Conv2D(4, 1)], None, 4),
    "logits": (lambda: [pool(), layers.Dense(4)], None, 4),
    "multi-label": (lambda: [pool(), layers.Dense(4, activation="sigmoid")], "sigmoid", 4),
    "binary": (lambda: [pool(), layers.Dense(1, activation="sigmoid")], "softmax", 2),
    "binary, convolution": (
        lambda: [layers.Conv2D(1, 1), pool(), layers.Activation("sigmoid")], "softmax", 2,
    ),
    "binary, a logit": (lambda: [pool(), layers.Dense(1)], "softmax", 2),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_every_end_becomes_logits(end):
    make, activation, classes = ENDS[end]
    model = small(*make())

    found = plain(model)

    require_plain(found.model)
    assert (found.activation, found.model.output_shape) == (activation, (None, classes))
    images = bytes_of_noise(8, 8).astype(np.float32) / 255
    wanted = np.asarray(model(images)).reshape(2, -1)
    ours = np.asarray(found.model(images))
    if end == "binary, a logit":
        np.testing.assert_allclose(ours, np.hstack([0 * wanted, wanted]), atol=1e-6)
        assert "taken for the logit of the second class" in " ".join(found.notes)
    elif end.startswith("binary"):
        wanted = np.hstack([1 - wanted, wanted])
        np.testing.assert_allclose(np.asarray(keras.ops.softmax(ours)), wanted, atol=1e-6)
    else:
        function = getattr(keras.ops, activation) if activation else np.asarray
        np.testing.assert_allclose(np.asarray(function(ours)), wanted, atol=1e-6)


def two_inputs() -> keras.Model:
    inputs = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    return keras.Model(inputs, layers.Dense(2)(pool()(layers.Add()(inputs))), name="twins")


def two_outputs() -> keras.Model:
    model = small(pool())
    ends = [layers.Dense(2, name=name)(model.output) for name in ("colour", "shape")]
    return keras.Model(model.input, ends, name="forked")


def averaged() -> keras.Model:
    model = small(pool())
    ends = [layers.Dense(3, activation="softmax")(model.output) for _ in range(2)]
    return keras.Model(model.input, layers.Average(name="vote")(ends), name="ensemble")


def quantised() -> keras.Model:
    model = small(pool(), layers.Dense(4, name="answers"))
    model.quantize("int8")
    return model


def taking(shape: tuple[int | None, ...]) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)), name="odd")


class Own(keras.Model):
    """Whose graph is in its code."""

    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(keras.ops.mean(x, axis=(1, 2)))


def diverged() -> keras.Model:
    """With one weight that is no number."""
    model = small(pool(), layers.Dense(2, name="answers"))
    kernel, bias = model.get_layer("answers").get_weights()
    kernel[0, 0] = np.nan
    model.get_layer("answers").set_weights([kernel, bias])
    return model


def overflowing() -> keras.Model:
    """With finite weights whose products are not."""
    model = small(pool(), layers.Dense(2), layers.Dense(2))
    for layer in model.layers[-2:]:
        layer.set_weights([np.full_like(layer.kernel, 1e30), layer.bias])
    return model


REFUSED = {
    "diverged": (diverged, "small has weights that are NaN or infinite, in answers/kernel: its tr"),
    "overflowing": (overflowing, "small answers an image of noise with NaN or infinite numbers"),
    "two inputs": (two_inputs, r"twins has 2 inputs \(left, right\)"),
    "two outputs": (two_outputs, r"forked has 2 outputs \(colour, shape\)"),
    "averaged": (averaged, r"answers with probabilities, which layer 'vote' \(Average\) makes"),
    "quantised": (quantised, "layer 'conv' was quantised by Keras|layer 'answers' was quantised"),
    "code": (Own, r"own \(Own\) is a model with code of its own"),
    "lambda": (
        lambda: small(layers.Lambda(lambda x: x * 2, name="twice"), pool(), layers.Dense(2)),
        "layer 'twice' is a Lambda",
    ),
    "channels first": (
        lambda: small(layers.Permute((3, 1, 2)),
                      pool(data_format="channels_first", name="first"), layers.Dense(2)),
        "layer 'first' has channels first",
    ),
    "maps": (small, r"small ends in layer 'conv' \(Conv2D\), whose answer is 3x3x6: .*no classif"),
    "features": (lambda: small(pool()), r"ends in layer 'conv' .* with 'relu' behind it.*no class"),
    "norm": (lambda: small(layers.BatchNormalization(name="norm"), pool()),
             "ends in the features of layer 'norm'"),
    "swish": (lambda: small(pool(), keras.activations.silu), r"ends in the features of .*Sil"),
    "one softmax": (
        lambda: small(pool(), layers.Dense(1, activation="softmax", name="answers")),
        "layer 'answers' .* its answer is always 1",
    ),
    "rows": (lambda: taking((7,)), "odd takes 7; images are height x width x channels"),
    "four channels": (lambda: taking((8, 8, 4)), "odd takes 8x8x4; images have 1 or 3 channels"),
    "planes": (lambda: taking((3, 8, 8)), "takes 3x8x8 .channels first, as it seems"),
    "any size": (lambda: small(pool(), layers.Dense(2), size=(None, None)),
                 "small takes images of any size; .*--image-size 224"),
    "no input": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(2)], name="loose"),
                 "loose has no Input layer; .*--image-size 224"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_named(what):
    make, message = REFUSED[what]
    model = make()
    with pytest.raises(InputError, match=message):
        plain(model)


def test_a_network_for_any_size_is_made_for_one():
    model = small(pool(), layers.Dense(2), size=(None, None))
    assert plain(model, image_size=(16, 24)).model.input_shape == (None, 16, 24, 3)
    # One with a size of its own is made for another where its layers allow it.
    assert plain(small(pool(), layers.Dense(2)), image_size=(9, 9)).model.input_shape[1:3] == (9, 9)
    with pytest.raises(InputError, match=r"small cannot take images of 16x16 .* own size is 8x8"):
        plain(small(layers.Flatten(), layers.Dense(2, name="answers")), image_size=(16, 16))


@pytest.mark.parametrize(
    ("front", "size", "geometry"),
    [
        ([layers.Resizing(12, 10)], (20, 30), ("stretch", 0.875)),
        ([layers.Resizing(12, 10, crop_to_aspect_ratio=True)], (20, 30), ("crop", 1.0)),
        ([layers.Resizing(16, 16), layers.CenterCrop(12, 12)], (20, 30), ("crop", 0.75)),
        ([layers.CenterCrop(12, 12)], (16, 16), ("crop", 0.75)),
        ([layers.Resizing(12, 10)], (None, None), ("stretch", 0.875)),
    ],
)
def test_sizes_are_changed_before_the_network(front, size, geometry):
    inputs = x = keras.Input((*size, 3))
    for layer in [*front, layers.Rescaling(1 / 255)]:
        x = layer(x)
    x = layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 3)(x)))
    found = plain(keras.Model(inputs, x))
    assert found.model.input_shape[1:3] == (front[-1].height, front[-1].width)
    assert (found.preprocessing.resize, found.preprocessing.crop_fraction) == geometry
    assert [type(layer) for layer in found.model.layers] == [
        layers.InputLayer, layers.Conv2D, layers.Flatten, layers.Dense
    ]  # fmt: skip


def test_a_sequential_model_without_input_is_built():
    model = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)])
    found = plain(model, image_size=(6, 7))
    assert found.model.input_shape == (None, 6, 7, 3)
    assert found.preprocessing.std == 255.0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_networks_of_half_precision_become_float32(policy):
    with_policy = keras.dtype_policies.get(policy)
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype=with_policy)(inputs)
    x = layers.Conv2D(6, 3, dtype=with_policy, name="conv")(x)
    x = keras.ops.cast(pool(dtype=with_policy)(x), "float16")
    x = layers.Dense(4, activation="softmax", dtype="float32", name="answers")(x)
    model = keras.Model(inputs, x)
    found = plain(model)
    assert {layer.compute_dtype for layer in found.model.layers} == {"float32"}
    assert {str(one.dtype) for one in found.model.weights} == {"float32"}
    assert (found.preprocessing.mean, found.preprocessing.std) == (127.5, 127.5)
    np.testing.assert_array_equal(
        found.model.get_layer("stem").kernel,
        keras.ops.cast(model.get_layer("conv").kernel, "float32"),
    )


def test_what_is_no_preprocessing_stays_in_the_network():
    """Grey to colours is none that an image can be given before; bytes go in then."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 255, name="scale")(layers.Concatenate()([inputs] * 3))
    x = layers.Dense(2)(pool()(layers.Conv2D(4, 3)(x)))
    found = plain(keras.Model(inputs, x))
    assert (found.preprocessing.mean, found.preprocessing.std) == (0.0, 1.0)
    assert "layer 'scale' (Rescaling) stays in the network" in " ".join(found.notes)
    assert found.model.input_shape == (None, 8, 8, 1)
    # And one who learns is no preprocessing, whatever it does.
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.RandomFlip()(inputs))
    found = plain(keras.Model(inputs, layers.Dense(2)(pool()(layers.Conv2D(4, 3)(x)))))
    assert found.preprocessing is None
    assert [type(layer).__name__ for layer in found.model.layers][1] == "BatchNormalization"


def test_shared_layers_stay_shared_and_augmentation_inside_goes():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((8, 8, 3))
    x = shared(layers.RandomZoom(0.1)(shared(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(pool()(x)))
    found = plain(model).model
    assert [layer.name for layer in found.layers if isinstance(layer, layers.Conv2D)] == ["stem"]
    assert len(found.get_layer("stem")._inbound_nodes) == 2
    assert not [layer for layer in found.layers if "random" in layer.name]


def test_a_normalisation_that_was_adapted_is_taken_out():
    images = bytes_of_noise(8, 8).astype(np.float32)
    norm = layers.Normalization()
    norm.adapt(images)
    inputs = keras.Input((8, 8, 3))
    x = pool()(layers.Conv2D(4, 3)(norm(inputs)))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    found = plain(model)
    np.testing.assert_allclose(found.preprocessing.mean, images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.preprocessing.std, images.std((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(answers(found, images), np.asarray(model(images)), atol=1e-5)
