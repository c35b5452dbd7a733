"""The devices, of one process or of several, among which the tasks of a run are shared out.

A replica is one of these devices. What they tell one another goes through a tf.distribute strategy:
each gives vectors, and all get their sums.
"""

import contextlib
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from supervised_reptile.devices.choice import Devices
from supervised_reptile.devices.cluster import ALONE, Cluster
from supervised_reptile.system.errors import LostError, RefusedError

TEXT = 2000  # bytes of a message that processes tell one another
Vectors = list[tf.Tensor]
# Of all devices of this process, or of each.
Pixels: typing.TypeAlias = typing.Union[tf.Tensor, tuple[tf.Tensor, ...]]  # noqa: UP007


class Replicas:
    """The replicas of a run.

    devices: of this process. process, processes: its number, and how many there are.
    """

    def __init__(
        self,
        devices: Devices | None = None,
        strategy: tf.distribute.Strategy | None = None,
        cluster: Cluster = ALONE,
    ) -> None:
        """strategy: None for a single replica."""
        self.devices = devices or Devices()
        self.process, self.processes = cluster
        self._strategy = strategy
        self._sums: dict[tuple, typing.Callable] = {}  # compiled, by the shapes of the vectors

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.process == 0

    @property
    def count(self) -> int:
        """How many replicas there are."""
        return self.processes * self.here

    @property
    def here(self) -> int:
        """How many of them this process has."""
        return len(self.devices.names)

    def on(self, local: int) -> contextlib.AbstractContextManager:
        """A context in which one of this process's replicas computes."""
        return tf.device(self.devices.names[local])

    def describe(self) -> dict:
        """What decides how sums are rounded, beside versions."""
        processes = {"processes": self.processes} if self.processes > 1 else {}
        return self.devices.describe() | processes

    def own(self) -> range:
        """The numbers of this process's replicas."""
        return range(self.process * self.here, (self.process + 1) * self.here)

    def resident(self, pixels: tf.Tensor) -> Pixels:
        """Pixels where they are computed with: on a CPU as they are, copied to each GPU once."""
        copies = tuple(self.put(pixels, local) for local in range(self.here))
        return copies[0] if self.here == 1 else copies

    @staticmethod
    def of(pixels: Pixels, local: int) -> tf.Tensor:
        """The pixels of one of this process's replicas."""
        return pixels[local] if isinstance(pixels, tuple) else pixels

    def put(self, value: typing.Any, local: int) -> typing.Any:
        """Tensors, copied to a device of this process unless they are there."""
        if self.devices.kind == "CPU" and self.here == 1:
            return value
        with self.on(local):
            return tf.nest.map_structure(tf.identity, value)

    def add_up(self, parts: Sequence[Vectors]) -> Vectors:
        """The sums over all replicas. parts: the vectors of each replica of this process.

        Every process has to call it as often. Raises LostError if another one has ended.
        """
        if not self._strategy:
            return parts[0]
        try:
            if len(parts) == 1:
                given = tuple(parts[0])
            else:
                given = self._strategy.experimental_distribute_values_from_function(
                    lambda context: tuple(parts[context.replica_id_in_sync_group - self.own()[0]])
                )
            shapes = tuple(tuple(vector.shape) for vector in parts[0])
            if shapes not in self._sums:
                compiled = tf.function(self._add_up, autograph=False)
                self._sums[shapes] = compiled.get_concrete_function(given)
            sums = self._sums[shapes](given)
            return [self._strategy.experimental_local_results(value)[0] for value in sums]
        except tf.errors.OpError as error:
            raise LostError("another process of this run has ended, or is out of reach") from error

    def _add_up(self, given: typing.Any) -> typing.Any:
        def reduce(vectors: Sequence[tf.Tensor]) -> typing.Any:
            context = tf.distribute.get_replica_context()
            # Only what was computed here is known to be on this replica's device.
            here = [tf.identity(vector) for vector in vectors]
            return context.all_reduce(tf.distribute.ReduceOp.SUM, here)

        assert self._strategy
        return self._strategy.run(reduce, args=(given,))

    def from_first(self, vectors: Vectors) -> Vectors:
        """The vectors of the first process, whatever others give; for it, those it gives."""
        if self.processes == 1:
            return vectors
        given = vectors if self.first else [tf.zeros_like(vector) for vector in vectors]
        sums = self._of_process(given)
        return vectors if self.first else sums

    def _of_process(self, vectors: Vectors) -> Vectors:
        """The sums over all processes; the first replica of each gives its process's."""
        nothing = [tf.zeros_like(vector) for vector in vectors]
        return self.add_up([vectors, *([nothing] * (self.here - 1))])

    def exchange(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Whole numbers of all processes, int64 [processes, numbers]. All give as many."""
        rows = np.zeros([self.processes, len(numbers)], np.int64)
        rows[self.process] = numbers
        if self.processes == 1:
            return rows
        (flat,) = self._of_process([tf.constant(rows.ravel())])
        return flat.numpy().reshape(rows.shape)

    def tell(self, text: str) -> list[str]:
        """What each process says."""
        data = text.encode()[:TEXT]
        rows = self.exchange([len(data), *data, *bytes(TEXT - len(data))])
        return [bytes(row[1 : 1 + row[0]].astype(np.uint8)).decode(errors="ignore") for row in rows]


def join(devices: Devices, cluster: Cluster) -> Replicas:
    """The Replicas of a cluster, or of this process's devices. Waits until all processes are there.

    Raises RefusedError where there is nothing to share tasks among.
    """
    if cluster.processes > 1:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        joined = Replicas(devices, strategy, cluster)
        if strategy.num_replicas_in_sync != joined.count:
            raise RefusedError(
                f"--distribute: {strategy.num_replicas_in_sync} devices in {cluster.processes} "
                "processes: each has to have as many GPUs, or none"
            )
        return joined
    if len(devices.names) == 1:
        raise RefusedError(
            f"--distribute: there is one device ({devices.kind}) and one process: start several "
            "processes (TF_CONFIG, or SLURM), or omit it"
        )
    return Replicas(devices, tf.distribute.MirroredStrategy(list(devices.names)))
