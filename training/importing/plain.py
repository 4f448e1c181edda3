"""Any Keras classifier as a plain network: one functional graph, from float images to logits."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from kerascnn.errors import InputError
from kerascnn.preprocessing import Preprocessing
from training.importing import front as fronts
from training.importing import head as heads
from training.importing.finite import require_finite
from training.importing.graph import Change, Graph, build, trace

# Largest difference of answers. What was computed in half precision differs by its own rounding.
_TOLERANCE = {"float32": 1e-5, "float64": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}
_LARGEST_SIDE = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainNetwork:
    """A classifier as everything here wants it.

    Attributes:
        model: functional, float32, without models inside; one input (None, height, width, 1 or 3)
            and one output (None, classes): logits. The layer that makes them is called "logits",
            the first with weights "stem", all others as before, with the names of the models
            around them in front where two were the same.
        preprocessing: what stood inside the model, taken out; None where nothing was inside.
        activation: "softmax", "sigmoid" or None: what stood behind the logits. A single output
            became the two logits (0, z), whose softmax is 1 - sigmoid(z) and sigmoid(z): it is
            "softmax" then.
        notes: sentences to say about what was found and done.
    """

    model: keras.Model
    preprocessing: Preprocessing | None
    activation: str | None
    notes: tuple[str, ...] = ()


def plain(model: keras.Model, *, image_size: tuple[int, int] | None = None) -> PlainNetwork:
    """Make a plain network of a model that was built in whatever way.

    Models inside become layers of the whole; what is done to images at the front, and a softmax or
    sigmoid at the end, are taken off; augmentation goes, dropout and trainable flags stay. Batch
    norms in what is called with `training=False` stay as they are: they are not trainable. All is
    float32. Weights are equal to the bit, and answers to 1e-5 on an image of noise, or it raises.

    Args:
        model: functional or Sequential, of one image and one answer; it is not changed, but for a
            Sequential model that has no input yet.
        image_size: (height, width); needed where the model takes any, and otherwise the model's.

    Raises:
        InputError: it cannot be made plain; the message names the layer.
    """
    _build_sequential(model, image_size)
    require_finite(model)
    graph = trace(model)
    own = _check_input(graph)
    front = fronts.split(graph)
    head = heads.find(front.graph)
    natural = front.size or own or image_size
    if natural is None:
        raise InputError(
            f"{model.name} takes images of any size; say which it was trained on, as in "
            "--image-size 224"
        )
    network = _network(front.graph, head, natural)
    _check_same(model, front, head, network, own or natural)
    if image_size is not None and tuple(image_size) != tuple(natural):
        network = _resized(front.graph, head, image_size, natural)
    shape = tuple(network.input.shape[1:])
    return PlainNetwork(
        model=network,
        preprocessing=fronts.preprocessing(front, shape),
        activation=head.activation,
        notes=front.notes + _notes(graph, head),
    )


def _build_sequential(model: keras.Model, image_size: tuple[int, int] | None) -> None:
    """Give a Sequential model that was never called its input."""
    if not isinstance(model, keras.Sequential) or model.built:
        return
    if image_size is None:
        raise InputError(
            f"{model.name} has no Input layer; say which image size it takes, as in "
            "--image-size 224"
        )
    try:
        model.build((None, *image_size, 3))
    except Exception as error:
        raise InputError(
            f"{model.name} cannot be built for {image_size} images: {error}"
        ) from error


def _check_input(graph: Graph) -> tuple[int, int] | None:
    """(height, width) of the input, or None where that is open."""
    shape = graph.input.shape
    sides = "x".join("?" if one is None else str(one) for one in shape[1:])
    if len(shape) != 4:
        raise InputError(
            f"{graph.name} takes {sides or 'single numbers'}; images are height x width x channels"
        )
    if shape[-1] not in (1, 3):
        first = " (channels first, as it seems: phones have them last)" * (shape[1] in (1, 3))
        raise InputError(f"{graph.name} takes {sides}{first}; images have 1 or 3 channels, last")
    height, width = shape[1:3]
    if height is None or width is None:
        return None
    if max(height, width) > _LARGEST_SIDE:
        raise InputError(f"{graph.name} takes images of {sides}")
    return height, width


def _network(graph: Graph, head: heads.Head, size: tuple[int, int]) -> keras.Model:
    changes = dict(head.changes)
    stem = next((step for step in graph.steps if step.weighted), None)
    if stem is not None and stem not in changes:
        changes[stem] = Change(name="stem")
    dropped = [*head.dropped, *filter(fronts.is_idle, graph.steps)]
    network = build(graph, (*size, graph.channels), dropped=dropped, changes=changes)
    if len(network.output.shape) != 2:
        flat = layers.Flatten(name="flat_logits")(network.output)
        network = keras.Model(network.input, flat, name=network.name)
    return network


def _resized(
    graph: Graph, head: heads.Head, size: tuple[int, int], own: tuple[int, int]
) -> keras.Model:
    """The network for another image size than its own."""
    try:
        return _network(graph, head, size)
    except InputError as error:
        sizes = [f"{height}x{width}" for height, width in (size, own)]
        raise InputError(
            f"{graph.name} cannot take images of {sizes[0]} ({error}); its own size is {sizes[1]}"
        ) from error


def _check_same(
    model: keras.Model,
    front: fronts.Front,
    head: heads.Head,
    network: keras.Model,
    size: tuple[int, int],
) -> None:
    """Raise InputError where two images of noise are not answered as by the model."""
    shape = (2, *size, front.graph.channels)
    noise = np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)
    if front.affine.is_identity:  # for numbers of any size: small ones are the rule
        noise = noise / 127.5 - 1
    given = (noise - front.outer[0]) / front.outer[1]
    wanted = np.asarray(keras.ops.cast(model(given, training=False), "float32"))
    if not np.isfinite(wanted).all():
        raise InputError(
            f"{model.name} answers an image of noise with NaN or infinite numbers: its weights are "
            "too large for what it computes in"
        )
    images = fronts.resized(front, noise)
    ours = np.asarray(network(_normalised(front, images), training=False))
    _check_no_probabilities(front.graph, head, ours)
    answers = _answers(ours, head)
    wanted = wanted.reshape(answers.shape)
    tolerance = max(_TOLERANCE.get(one.compute_dtype, 1e-5) for one in model._flatten_layers())
    largest = max(1.0, float(np.abs(wanted).max()))
    difference = float(np.abs(answers - wanted).max()) / largest
    if not difference <= tolerance:
        raise InputError(
            f"{model.name} and the plain network that was made of it differ by {difference:.2g} on "
            f"an image of noise, where {tolerance:g} may be: it does something that was not seen; "
            "convert it to .tflite by TensorFlow and import that file"
        )


def _normalised(front: fronts.Front, images: np.ndarray) -> np.ndarray:
    if front.affine.reversed:
        images = images[..., ::-1]
    return ((images - front.affine.mean) / front.affine.std).astype(np.float32)


def _answers(logits: np.ndarray, head: heads.Head) -> np.ndarray:
    """What the model that was read gives for the images of these logits."""
    if head.binary:
        logits = logits[:, 1:] - logits[:, :1]
    kind = head.removed
    function = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid}.get(kind or "")
    return np.asarray(function(logits)) if function else logits


def _check_no_probabilities(graph: Graph, head: heads.Head, answers: np.ndarray) -> None:
    """Raise InputError where a softmax stands somewhere it was not looked for."""
    if head.activation or answers.min() < 0 or np.abs(answers.sum(-1) - 1).max() > 1e-4:
        return
    last = graph.maker(graph.output)
    raise InputError(
        f"{graph.name} answers with probabilities, which {last.name if last else 'it'} makes "
        "of others; end in one softmax, behind the logits"
    )


def _notes(graph: Graph, head: heads.Head) -> tuple[str, ...]:
    if not head.binary:
        return ()
    meant = "is taken for" if head.removed is None else "was"
    return (
        f"the one output of {graph.name} {meant} the logit of the second class; the network has "
        "two outputs now, the first of which is always 0",
    )
