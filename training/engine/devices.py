"""Where a training runs: one device, all of a host's, or those of several hosts.

Data parallelism: every device has the network and a part of each batch, and gradients are added
up before an update, so that a training is that of one device at the same batch. Under tensorflow
by tf.distribute (MirroredStrategy, MultiWorkerMirroredStrategy), under jax by keras.distribution
and jax.distributed; torch stays on one device.

Three things have to be mended for that under tensorflow. Batch norms see a part of the batch:
they are replaced by synchronised ones. Keras 3.15 clips and accumulates the gradients of a
part: `Placement.optimizer` adds up first. And Keras asks MultiWorkerMirroredStrategy for means
that it cannot take, which is keras-team/keras issue 20585: `_with_plain_reduce`.

Dropout draws one mask for the whole batch under jax, the same on any number of devices. Under
tensorflow every device draws one for its part, all of them the same: not the mask of one device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kerascnn.errors import InputError
from training.common.quiet import stdout_to_stderr

if TYPE_CHECKING:
    import keras

ALL = 0
_FORM = "give a number, all, or INDEX@HOST:PORT,HOST:PORT,..."

Shard = tuple[int, int]


class Placement:
    """One device, which is what backends use by themselves; the others are subclasses.

    With several hosts every host runs the same program. What says "on every host" is waited for
    by all, so it must not stand in a branch that one host takes alone; nor may an assignment to a
    variable under jax, nor a look at a metric's variables or result under tensorflow. Weights and
    the optimiser's variables can be read by one host alone.

    Attributes:
        hosts: (address:port, ...) of all hosts; empty if there is but this one.
        host: index of this host.
        replicas: devices of all hosts together.
        can_jit: whether XLA may compile the step; under tf.distribute it finds variables on other
            devices than its own.
    """

    hosts: tuple[str, ...] = ()
    host = 0
    replicas = 1
    can_jit = True

    @property
    def is_chief(self) -> bool:
        """Whether this host writes the files."""
        return self.host == 0

    @property
    def shard(self) -> Shard:
        """(index, count): this host's part of every batch, of `count` equal ones in order."""
        return self.host, max(1, len(self.hosts))

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """In here the training model is made, compiled and fitted; everything else outside."""
        return contextlib.nullcontext()

    def twin(self, model: keras.Model) -> keras.Model:
        """What to train in place of a functional model, same weights in the same order.

        Call it in `scope()`, for a teacher too. It may be the model itself.
        """
        import keras

        if keras.backend.backend() != "tensorflow":
            return model
        from training.engine.fused_norm import with_fused_norms

        return with_fused_norms(model)

    def optimizer(self, optimizer: keras.Optimizer) -> keras.Optimizer:
        """The same optimiser, changed in place to see the gradients of the whole batch."""
        return optimizer

    def distribute(self, make_stream: Callable[[Shard], Any]) -> Any:
        """What `fit` is given for training.

        Args:
            make_stream: gives a host's part of every batch, from (index, count) of the host, as
                a tf.data.Dataset of a static batch size, or as Keras takes it under jax. Do not
                feed tf.data views of arrays that are used again, by `from_generator` or
                `numpy_function`: TensorFlow 2.21 may write into them. Copies are safe.
        """
        return make_stream(self.shard)

    def evaluation_batch(self, pictures: int, batch_size: int) -> int:
        """A size for the batches of `distribute_evaluation`, at most `batch_size`.

        Under tensorflow the last one leaves no device without an image: layers fail on none.
        """
        return batch_size

    def distribute_evaluation(self, batches: Any) -> Any:
        """What `fit` is given as `validation_data`, for figures of all images on every host.

        Args:
            batches: all images, on every host, the last batch possibly short; a
                tf.data.Dataset under tensorflow, a keras.utils.PyDataset under jax.
        """
        return batches

    def total(self, values: Any, axis: Any = None) -> Any:
        """The sum of a tensor over the whole batch, wherever its parts are.

        For a loss that is divided by a count of the whole batch, as of its objects: what all
        devices then have is the loss of the whole batch.
        """
        from keras import ops

        return ops.sum(values, axis=axis)

    def part(self, loss: Any) -> Any:
        """What a device is to add to the sum of gradients where it has the whole batch's loss."""
        return loss

    def check_batch(self, batch_size: int) -> None:
        """Raise InputError if a batch does not split evenly over the devices."""
        if batch_size % self.replicas:
            near = max(1, round(batch_size / self.replicas)) * self.replicas
            raise InputError(
                f"a batch of {batch_size} images cannot be split over {self.replicas} devices; "
                f"set batch_size to {near}"
            )

    def agree(self, flag: bool) -> bool:
        """Whether any host says so; on every host. One small exchange."""
        return flag

    def barrier(self) -> None:
        """Wait for all hosts, so that what the chief wrote is there; on every host."""
        self.agree(False)


SINGLE = Placement()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devices:
    """What `--devices` asks for.

    Attributes:
        count: devices of this host, or ALL.
        hosts: (address:port, ...) of all hosts, or () for this one alone.
        host: index of this host among them.
    """

    count: int = 1
    hosts: tuple[str, ...] = ()
    host: int = 0

    @staticmethod
    def parse(text: str) -> Devices:
        """Read "4", "all" or "0@10.0.0.1:2222,10.0.0.2:2222" (host 0 of two, all their devices).

        Raises:
            InputError: it is none of them.
        """
        index, at, listed = text.strip().partition("@")
        if at:
            return _parse_hosts(text, index, listed)
        if index == "all":
            return Devices(count=ALL)
        if not (index.isascii() and index.isdigit() and int(index) > 0):
            raise InputError(f"--devices {text!r} names no devices; {_FORM}")
        return Devices(count=int(index))

    def __str__(self) -> str:
        if self.hosts:
            return f"{self.host}@{','.join(self.hosts)}"
        return "all" if self.count == ALL else str(self.count)

    def open(self) -> Placement:
        """Take the devices; once in a process, before anything is computed.

        With several hosts this waits for them.

        Raises:
            InputError: the backend trains on one device, there are fewer, or this host's address
                cannot be used.
        """
        if self == Devices():
            return SINGLE
        import keras

        backend = keras.backend.backend()
        if backend == "tensorflow":
            return _open_tensorflow(self)
        if backend == "jax":
            return _open_jax(self)
        raise InputError(
            f"--devices {self}: {backend} trains on one device here; "
            "set KERAS_BACKEND to tensorflow or jax"
        )


def _parse_hosts(text: str, index: str, listed: str) -> Devices:
    hosts = tuple(host.strip() for host in listed.split(","))
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not (name and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise InputError(f"--devices {text!r}: {host!r} is not HOST:PORT; {_FORM}")
    if len(hosts) < 2 or len(set(hosts)) < len(hosts):
        raise InputError(f"--devices {text!r}: name two hosts or more, each once")
    if not (index.isascii() and index.isdigit() and int(index) < len(hosts)):
        raise InputError(f"--devices {text!r}: INDEX must be 0 to {len(hosts) - 1}, not {index!r}")
    return Devices(count=ALL, hosts=hosts, host=int(index))


def _chosen(asked: Devices, there: list[Any], kind: str) -> list[Any]:
    """The first devices, as many as asked for."""
    if asked.count > len(there):
        raise InputError(
            f"--devices {asked}: this machine has {len(there)} ({kind}); give at most that, or all"
        )
    return there[: asked.count or None]


def with_synchronised_norms(model: keras.Model) -> keras.Model:
    """A twin of a functional model, whose batch norms see the whole batch; weights are copied.

    Of use under tensorflow; under jax every layer sees the whole batch.
    """
    import keras

    def twin_of(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return type(layer).from_config(config)

    return _clone(model, clone_function=twin_of)


def _clone(model: keras.Model, **how: Any) -> keras.Model:
    import keras

    twin = keras.models.clone_model(model, **how)
    for copy, variable in zip(twin.variables, model.variables, strict=True):
        copy.assign(variable)  # how far dropout has drawn, too
    twin.dtype_policy = model.dtype_policy  # half precision has its loss scaled
    return twin


# tensorflow


def _open_tensorflow(asked: Devices) -> Placement:
    import tensorflow as tf

    if asked.hosts:
        return _Replicated(_worker_strategy(asked), asked)
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    chosen = _chosen(asked, names, kind)
    if len(chosen) == 1:
        return SINGLE
    return _Replicated(_with_plain_reduce(tf.distribute.MirroredStrategy)(chosen), asked)


def _worker_strategy(asked: Devices) -> Any:
    """Of all hosts; what TF_CONFIG would say is handed over as an object."""
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(asked.hosts)}),
        task_type="worker",
        task_id=asked.host,
        rpc_layer="grpc",
    )
    means = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=means.AUTO if tf.config.list_physical_devices("GPU") else means.RING
    )
    strategy = _with_plain_reduce(tf.distribute.MultiWorkerMirroredStrategy)
    try:
        return strategy(cluster_resolver=resolver, communication_options=options)
    except tf.errors.OpError as error:
        raise _cannot_listen(asked) from error


def _with_plain_reduce(kind: Any) -> Any:
    """A strategy that takes what Keras' trainer has it reduce.

    Keras 3.15 asks for the mean over axis 0 of scalars, a step's figures, and for the mean of a
    nested batch, some of it bytes, of which it wants the shapes alone. MultiWorkerMirroredStrategy
    fails at both; MirroredStrategy hands the batch back as it is.
    """
    import tensorflow as tf

    class Strategy(kind):
        def reduce(self, reduce_op: Any, value: Any, axis: int | None) -> Any:
            def part(values: Any) -> Any:
                return self.experimental_local_results(values)[0]

            if isinstance(value, (dict, list, tuple)):
                return tf.nest.map_structure(part, value)
            if axis is not None and part(value).shape.rank == 0:
                axis = None
            return super().reduce(reduce_op, value, axis)

    return Strategy


class _Replicated(Placement):
    """Under a tf.distribute strategy: a network a device, kept equal."""

    can_jit = False

    def __init__(self, strategy: Any, asked: Devices) -> None:
        self._strategy = strategy
        self.hosts, self.host = asked.hosts, asked.host
        self.replicas = strategy.num_replicas_in_sync
        self._count: Callable[[Any], Any] | None = None

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._strategy.scope()

    def twin(self, model: keras.Model) -> keras.Model:
        return with_synchronised_norms(model)

    def optimizer(self, optimizer: keras.Optimizer) -> keras.Optimizer:
        optimizer.__class__ = _of_sums(type(optimizer))
        return optimizer

    def total(self, values: Any, axis: Any = None) -> Any:
        import tensorflow as tf

        own, context = super().total(values, axis), tf.distribute.get_replica_context()
        if context is None:  # outside of a step there is but one part
            return own
        # Its gradient is the sum of all devices' gradients.
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    def part(self, loss: Any) -> Any:
        return loss / self.replicas

    def distribute(self, make_stream: Callable[[Shard], Any]) -> Any:
        index, count = self.shard

        def parts(_context: Any) -> Any:
            stream = make_stream((index, count))
            devices = self.replicas // count
            if devices == 1:
                return stream
            import tensorflow as tf

            rows = tf.nest.flatten(stream.element_spec)[0].shape[0]
            return stream.rebatch(rows // devices, drop_remainder=True)  # for each device in turn

        return self._strategy.distribute_datasets_from_function(parts)

    def distribute_evaluation(self, batches: Any) -> Any:
        import tensorflow as tf

        index, count = self.shard
        mine = range(index, self.replicas, count)

        def rows(batch: Any, device: int) -> Any:
            return tf.nest.map_structure(lambda values: values[device :: self.replicas], batch)

        def parts(*batch: Any) -> Any:
            first, *others = (tf.data.Dataset.from_tensors(rows(batch, d)) for d in mine)
            return functools.reduce(lambda one, other: one.concatenate(other), others, first)

        spread = self._strategy.distribute_datasets_from_function(
            lambda _context: batches.flat_map(parts)
        )
        spread._cardinality = batches.cardinality()  # Keras takes it for the number of steps
        return spread

    def evaluation_batch(self, pictures: int, batch_size: int) -> int:
        for size in range(batch_size, self.replicas - 1, -1):
            if pictures % size == 0 or pictures % size >= self.replicas:
                return size
        return batch_size

    def agree(self, flag: bool) -> bool:
        import tensorflow as tf

        if not self.hosts:
            return flag
        if self._count is None:

            @tf.function  # by itself `run` says at every call that it is slow
            def count(said: Any) -> Any:
                voices = self._strategy.run(lambda: tf.identity(said))
                return self._strategy.reduce("SUM", voices, axis=None)

            self._count = count
        return float(self._count(tf.constant(float(flag)))) > 0


def _of_sums(kind: Any) -> Any:
    """An optimiser that adds gradients up over the devices first, and then updates each alike.

    Keras' own adds up last, so each device clips the gradient of its part by itself; and it
    cannot accumulate: it would have to meet the other devices inside a condition. As the sums
    are the same everywhere, an update needs no meeting.
    """
    import keras
    import tensorflow as tf

    class OfSums(kind):
        def _backend_apply_gradients(self, grads: list, trainable_variables: list) -> None:
            context = tf.distribute.get_replica_context()
            sums = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            super()._backend_apply_gradients(sums, trainable_variables)

        def _backend_update_step(self, grads: list, variables: list, learning_rate: Any) -> None:
            for grad, variable in zip(grads, variables, strict=True):
                self.update_step(grad, variable, learning_rate)

        def _backend_increment_gradient_accumulators(self, grads: list, sums: list) -> None:
            for grad, total in zip(grads, sums, strict=True):
                total.assign(total + grad)

    if kind._apply_weight_decay is keras.optimizers.Optimizer._apply_weight_decay:

        def decay(self: Any, variables: list) -> None:
            for variable in variables if self.weight_decay else ():
                if self._use_weight_decay(variable):
                    variable.assign(variable * (1 - self.weight_decay * self.learning_rate))

        OfSums._apply_weight_decay = decay
    OfSums.__name__ = OfSums.__qualname__ = kind.__name__
    return OfSums


# jax


def _open_jax(asked: Devices) -> Placement:
    import jax
    import keras

    if asked.hosts:
        _check_port(asked)
        # XLA's own collectives are for GPUs; processes of CPUs talk by gloo.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(asked.hosts[0], len(asked.hosts), asked.host)
    names = keras.distribution.list_devices()
    chosen = _chosen(asked, names, names[0].split(":")[0])
    if len(chosen) == 1:
        return SINGLE
    placement = _Spread(chosen, asked)
    with stdout_to_stderr():  # at its first exchange gloo prints whom it has met
        placement.barrier()
    return placement


def _check_port(asked: Devices) -> None:
    """jax dies of a segmentation fault where its first host cannot listen, or waits for ever."""
    if asked.host:
        return
    name, _, port = asked.hosts[0].rpartition(":")
    name = name.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        socket.create_server((name, int(port)), family=family).close()
    except OSError as error:
        raise _cannot_listen(asked) from error


def _cannot_listen(asked: Devices) -> InputError:
    return InputError(
        f"--devices {asked}: cannot listen at {asked.hosts[asked.host]}; "
        "give this host's own address and a free port"
    )


class _Spread(Placement):
    """Under keras.distribution: one network over all devices, batches spread by rows."""

    def __init__(self, devices: list[str], asked: Devices) -> None:
        import jax

        self.hosts, self.host = asked.hosts, asked.host
        self.replicas = len(devices)
        self._local = jax.local_device_count() if asked.hosts else len(devices)
        if self.replicas != self._local * self.shard[1]:
            raise InputError(
                f"--devices {asked}: {self.replicas} devices in all, {self._local} here; "
                "take hosts with equal numbers of devices"
            )
        self._distribution = _by_rows()(devices, self._local)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._distribution.scope()

    def twin(self, model: keras.Model) -> keras.Model:
        return _clone(model)  # variables lie where they are made

    def distribute_evaluation(self, batches: Any) -> Any:
        return _evaluation(batches, self.shard, self.replicas, self._local)

    def agree(self, flag: bool) -> bool:
        if not self.hosts:
            return flag
        import numpy as np
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def _by_rows() -> Any:
    """keras.distribution.DataParallel, for hosts that bring their own parts."""
    import keras

    class ByRows(keras.distribution.DataParallel):
        def __init__(self, devices: list[str], local: int) -> None:
            super().__init__(devices=devices, auto_shard_dataset=False)
            self._local = local

        def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
            if data_shape[0] % self._local == 0:
                return super().get_data_layout(data_shape)
            # Keras asks once, for the first batch: see `_evaluation`.
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return ByRows


def _evaluation(batches: Any, shard: Shard, replicas: int, local: int) -> Any:
    """Batches for jax. If they do not split over all devices, each host evaluates all of them.

    A batch that does not split over a host's own devices comes first, where `ByRows` sees it.
    """
    import keras

    index, count = shard
    last = len(batches) - 1
    rows = [len(keras.tree.flatten(batches[n])[0]) for n in (0, last)]
    splits = all(n % replicas == 0 for n in rows)
    first = last if rows[1] % local else 0

    def part(values: Any) -> Any:
        share = len(values) // count
        return values[index * share : (index + 1) * share]

    class Evaluation(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, number: int) -> Any:
            batch = batches[(number + first) % len(batches)]
            return keras.tree.map_structure(part, batch) if splits else batch

    return Evaluation()
