"""Training on many devices is training on one, at the same batch.

This file is a program, too: the tests run it once for every process of a training.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import types

import numpy as np
import pytest
from commands import communicate, free_ports
from marks import IN_CI

from kerascnn.errors import InputError
from training.engine import devices
from training.engine.devices import ALL, SINGLE, Devices

ROOT = pathlib.Path(__file__).parents[3]
STEPS, BATCH, JUDGED = 6, 8, 19  # the last batch of the judged is short


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1", Devices()),
        (" 4 ", Devices(count=4)),
        ("all", Devices(count=ALL)),
        ("1@a:2222,[::1]:2223", Devices(count=ALL, hosts=("a:2222", "[::1]:2223"), host=1)),
    ],
)
def test_what_is_asked_for_is_read_and_written_alike(text, read):
    assert Devices.parse(text) == read
    assert Devices.parse(str(read)) == read


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("", "''"),
        ("0", "'0'"),
        ("-1", "'-1'"),
        ("gpu", "'gpu'"),
        ("0@a,b:1", "'a' is not HOST:PORT"),
        ("0@a:1,b:x", "'b:x' is not HOST:PORT"),
        ("0@a:1,b:65536", "'b:65536' is not HOST:PORT"),
        ("0@a:1,", "'' is not HOST:PORT"),
        ("0@a:1", "two hosts"),
        ("0@a:1,a:1", "each once"),
        ("2@a:1,b:1", "INDEX must be 0 to 1, not '2'"),
        ("@a:1,b:1", "INDEX must be 0 to 1, not ''"),
    ],
)
def test_nonsense_is_refused_with_the_culprit(text, culprit):
    with pytest.raises(InputError, match="--devices") as refused:
        Devices.parse(text)
    assert culprit in str(refused.value)


def test_what_is_asked_for_is_read_before_any_backend():
    code = (
        "import sys; from training.engine.devices import Devices; Devices.parse('0@a:1,b:1');"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_one_device_is_left_alone():
    placement = Devices.parse("1").open()
    assert placement is SINGLE
    assert (placement.is_chief, placement.shard, placement.replicas) == (True, (0, 1), 1)
    assert placement.distribute(lambda shard: shard) == (0, 1)
    placement.check_batch(7)
    placement.barrier()


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"--devices 99: this machine has \d+ \(\wPU\)"):
        Devices.parse("99").open()


def test_torch_is_told_to_take_another_backend(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    with pytest.raises(InputError, match="torch trains on one device here"):
        Devices.parse("all").open()


def test_an_address_that_jax_would_die_or_wait_for_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"cannot listen at {first}"):
            devices._check_port(Devices.parse(f"0@{first},127.0.0.1:1"))
        devices._check_port(Devices.parse(f"1@{first},127.0.0.1:1"))  # it is the other host's
    devices._check_port(Devices.parse(f"0@{first},127.0.0.1:1"))
    with pytest.raises(InputError, match=r"cannot listen at 192\.0\.2\.1:2222"):  # of RFC 5737
        devices._check_port(Devices.parse("0@192.0.2.1:2222,127.0.0.1:1"))


def _replicated(replicas, hosts=(), host=0):
    strategy = types.SimpleNamespace(num_replicas_in_sync=replicas)
    return devices._Replicated(strategy, Devices(count=ALL, hosts=hosts, host=host))


def test_a_batch_that_does_not_split_is_refused_with_one_that_does():
    placement = _replicated(4)
    placement.check_batch(64)
    with pytest.raises(InputError, match="set batch_size to 32"):
        placement.check_batch(30)
    with pytest.raises(InputError, match="set batch_size to 4"):
        placement.check_batch(1)


@pytest.mark.parametrize(
    ("pictures", "size"),
    [(64, 8), (70, 8), (65, 7), (3, 8)],  # 65 % 8 = 1, 65 % 7 = 2; 3 are too few for 4 anyway
)
def test_the_last_batch_judged_has_a_picture_for_every_device(pictures, size):
    replicas = 2 if pictures != 3 else 4
    assert _replicated(replicas).evaluation_batch(pictures, 8) == size


def _judged_by_jax(batches, **how):
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, number):
            return (np.array(batches[number]),)

    spread = devices._evaluation(Batches(), **how)
    return [spread[n][0].tolist() for n in range(len(spread))]


def test_batches_judged_by_jax_are_split_where_all_split():
    batches = [[0, 1, 2, 3], [4, 5]]
    second = _judged_by_jax(batches, shard=(1, 2), replicas=2, local=1)
    assert second == [[2, 3], [5]]
    # Two rows do not split over four devices: each host has all, and two devices share them.
    assert _judged_by_jax(batches, shard=(1, 2), replicas=4, local=2) == batches


def test_a_batch_that_jax_cannot_split_comes_first():
    batches = [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    spread = _judged_by_jax(batches, shard=(0, 1), replicas=2, local=2)
    assert spread == [[8], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_synchronised_twin_has_the_weights_and_nothing_else_changed():
    import keras

    inputs = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization(epsilon=0.1, trainable=False)(inputs)
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(keras.layers.Conv2D(2, 3)(x)))
    model.layers[1].moving_mean.assign([0.25])
    model.layers[3].seed_generator.state.assign([3, 4])
    twin = devices.with_synchronised_norms(model)
    norm = twin.layers[1]
    assert (norm.synchronized, norm.epsilon, norm.trainable) == (True, 0.1, False)
    for ours, theirs in zip(twin.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert not model.layers[1].synchronized


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    """What a training on one device gives, once for each backend."""
    found: dict[str, dict] = {}

    def get(backend):
        if backend not in found:
            folder = tmp_path_factory.mktemp(backend)
            if backend == "tensorflow":  # of this process, as all its devices are one
                _train({"devices": "1", "out": str(folder / "0.json")}, backend)
                found[backend] = json.loads((folder / "0.json").read_text())
            else:
                (found[backend],) = _run(folder, backend, [{"devices": "1"}])
        return found[backend]

    return get


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("tensorflow", marks=IN_CI),
        pytest.param("jax", marks=pytest.mark.slow),
    ],
)
def test_two_devices_train_as_one_does(backend, on_one_device, tmp_path):
    (two,) = _run(tmp_path, backend, [{"devices": "all", "virtual": 2}])
    assert two["replicas"] == 2
    _assert_same(on_one_device(backend), two)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_hosts_train_as_one_does(backend, on_one_device, tmp_path):
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    chief, other = _run(tmp_path, backend, [{"devices": f"{n}@{hosts}"} for n in (0, 1)])
    assert (chief["replicas"], chief["is_chief"], other["is_chief"]) == (2, True, False)
    _assert_same(on_one_device(backend), chief)
    assert chief["history"] == other["history"]
    assert chief["variables"] == other["variables"]


def _assert_same(one, many):
    """Losses and figures of two epochs, and every variable behind them."""
    assert one["history"]["loss"][1] < one["history"]["loss"][0]
    for name, figures in one["history"].items():
        np.testing.assert_allclose(many["history"][name], figures, rtol=1e-4, err_msg=name)
    assert len(one["variables"]) == len(many["variables"])
    for ours, theirs in zip(many["variables"], one["variables"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def _run(folder, backend, processes):
    """One process for each dict of arguments, at the same time; what they found."""
    started, results = [], []
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")]),
    }
    try:
        for number, asked in enumerate(processes):
            out, log = folder / f"{number}.json", folder / f"{number}.log"
            arguments = json.dumps(asked | {"out": str(out)})
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    # The second is a known one of Keras: see pyproject.toml.
                    [sys.executable, "-Werror", "-Wignore:__array__", __file__, arguments],
                    env=environment,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                )
            started.append((process, out, log))
        communicate([process for process, _, _ in started])
        for process, out, _log in started:
            assert process.returncode == 0, _last_words(started)
            results.append(json.loads(out.read_text()))
    finally:
        for process, _, _ in started:
            process.kill()
            process.wait()
    return results


def _last_words(started):
    return "\n\n".join(
        f"{process.returncode}: {log.read_text(errors='replace')[-3000:]}"
        for process, _out, log in started
    )


def _divide(backend, virtual):
    """Make a processor so many devices; before the backend counts them."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={virtual}"
    if backend == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * virtual
        tf.config.set_logical_device_configuration(cpu, parts)


def _train(asked, backend):
    """Two epochs of everything that can differ: clipping, accumulation, averages, batch norm."""
    placement = Devices.parse(asked["devices"]).open()
    import keras

    from training.engine import optimizers
    from training.engine.config import TrainConfig

    network = _network()
    placement.check_batch(BATCH)
    with placement.scope():
        model = _learner_class()(placement.twin(network))
        config = TrainConfig(weight_decay=0.05, clip_norm=0.05, accumulate=2, ema=0.9)
        optimizer = optimizers.build(config, 0.01)
        model.compile(
            optimizer=placement.optimizer(optimizer),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=backend == "jax",
        )
        model.optimizer.build(model.trainable_variables)
    variables = [*model.network.variables, *model.optimizer.variables]
    feed, judged = _feeds(backend, placement)
    with placement.scope():
        history = model.fit(
            placement.distribute(feed),
            validation_data=placement.distribute_evaluation(judged),
            epochs=2,
            steps_per_epoch=STEPS,
            shuffle=False,
            verbose=0,
            callbacks=[_watch(placement, variables)],
        ).history
    placement.barrier()
    for ours, trained in zip(network.variables, model.network.variables, strict=True):
        ours.assign(np.asarray(trained))
    if placement.is_chief:  # alone: what was trained is a plain model again
        assert np.isfinite(network.predict_on_batch(_data()[0][:3].astype("float32"))).all()
    found = {
        "replicas": placement.replicas,
        "is_chief": placement.is_chief,
        "history": history,
        "variables": [np.asarray(v).tolist() for v in variables],
    }
    pathlib.Path(asked["out"]).write_text(json.dumps(found))


def _network():
    """With a batch norm, and the same kernels under every backend."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(inputs, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(1)
    for kernel in (v for v in network.trainable_variables if len(v.shape) > 1):
        kernel.assign(rng.normal(0, 0.2, tuple(kernel.shape)).astype(np.float32))
    return network


def _learner_class():
    import keras
    from keras import ops

    class Learner(keras.Model):
        """Takes nested batches and changes the loss, as `ClassificationTrainingModel` does."""

        def __init__(self, network):
            super().__init__(autocast=False)
            self.network = network
            self.built = True

        def call(self, batch, training=False):
            pictures = ops.cast(batch["pictures"], "float32") / 255
            if training:
                pictures = pictures * batch["drawn"]["gain"][:, None, None, None]
            return self.network(pictures, training=training)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            mixed = 0.9 * y + 0.1 * ops.flip(y, -1)
            weights = ops.matmul(mixed, ops.convert_to_tensor(np.float32([1, 2, 0.5])))
            return super().compute_loss(
                x=x, y=mixed, y_pred=y_pred, sample_weight=weights, training=training
            )

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return super().compute_metrics(x, y, y_pred)

    return Learner


def _data():
    """(48, 8, 8, 3) uint8, (48,) gains, (48, 3) labels that the pictures tell."""
    rng = np.random.default_rng(0)
    count = STEPS * BATCH
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, count)]
    pictures = rng.integers(0, 256, (count, 8, 8, 3)) // (1 + 2 * labels[:, None, None].astype(int))
    return pictures.astype(np.uint8), rng.uniform(0.5, 1.5, count).astype(np.float32), labels


def _feeds(backend, placement):
    """(from a shard to its batches of two epochs, all that is judged)."""
    pictures, gains, labels = _data()

    def batches(shard):
        index, count = shard
        rows = BATCH // count
        for start in list(range(index * rows, len(labels), BATCH)) * 2:
            part = slice(start, start + rows)
            drawn = {"gain": gains[part], "crop": np.arange(rows, dtype=np.int32)}
            yield {"pictures": pictures[part], "drawn": drawn}, labels[part]

    size = placement.evaluation_batch(JUDGED, BATCH)
    if backend == "jax":
        import keras

        class Judged(keras.utils.PyDataset):
            def __len__(self):
                return math.ceil(JUDGED / size)

            def __getitem__(self, number):
                part = slice(number * size, min((number + 1) * size, JUDGED))
                return {"pictures": pictures[part]}, labels[part]

        return batches, Judged()
    import tensorflow as tf

    def stacked(shard):
        steps = list(batches(shard))
        arrays = tf.nest.map_structure(lambda *values: np.stack(values), *steps)
        return tf.data.Dataset.from_tensor_slices(arrays)

    judged = tf.data.Dataset.from_tensor_slices(({"pictures": pictures}, labels))
    return stacked, judged.take(JUDGED).batch(size)


def _watch(placement, variables):
    import keras

    class Watch(keras.callbacks.Callback):
        """Reads and restores in the middle of a training, as checkpoints do."""

        def on_train_batch_end(self, batch, logs=None):
            assert placement.agree(placement.host == 1 and batch == 3) == (
                batch == 3 and bool(placement.hosts)
            )
            if placement.is_chief and batch == 2:
                assert self.model is not None  # under jax this brings the variables up to date
                assert all(np.isfinite(np.asarray(v)).all() for v in variables)

        def on_epoch_end(self, epoch, logs=None):
            kept = [np.array(np.asarray(v)) for v in variables]
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value + 1)
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)
                np.testing.assert_array_equal(np.asarray(variable), value)

    return Watch()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    _divide(os.environ["KERAS_BACKEND"], asked.get("virtual", 1))
    _train(asked, os.environ["KERAS_BACKEND"])
