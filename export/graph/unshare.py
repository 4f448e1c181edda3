"""Give every call of a shared layer a layer of its own.

Detectors run one head over all levels of a pyramid. Folding, lowering, quantisation and the
tf_keras twin all take a layer for the maker of one tensor.
"""

from __future__ import annotations

import keras


def unshared(model: keras.Model) -> keras.Model:
    """Return a twin in which no layer is called twice.

    Args:
        model: functional; its weights are copied, never shared.

    Returns:
        A model with equal outputs, in the structure of `model`'s. A layer's first call keeps its
        name, later ones add `_call2`, `_call3`, ... A model without shared layers is returned as
        it is.
    """
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    if len({id(node.operation) for node in nodes}) == len(nodes):
        return model
    # The order in which the graph is run is not that of the calls.
    names = iter([_name(node, nodes) for node in nodes])

    def call(layer: keras.Layer, *args, **kwargs):
        twin = type(layer).from_config({**layer.get_config(), "name": next(names)})
        outputs = twin(*args, **kwargs)
        if layer.weights:
            twin.set_weights(layer.get_weights())
        return outputs

    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), model.input
    )
    outputs = model._run_through_graph(inputs, operation_fn=lambda layer: layer, call_fn=call)
    return keras.Model(inputs, outputs, name=model.name)


def _name(node, nodes) -> str:
    """The layer's name, with the number of the call among the model's own."""
    within = {id(one) for one in nodes}
    calls = [id(one) for one in node.operation._inbound_nodes if id(one) in within]
    name: str = node.operation.name
    number = 1 + calls.index(id(node))
    return name if number == 1 else f"{name}_call{number}"
