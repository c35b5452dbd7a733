"""Sharing the tasks of a run among all devices of this machine, or among processes (--distribute).

Process 0 leads. It is the ordinary program, and alone prints, and reads and writes the run's
folder. The others, the workers, load the same images and answer the leader's calls until it ends.
Messages go over TCP, as JSON and arrays; nothing that is received is executed.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import queue
import re
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener

import numpy as np
import tensorflow as tf

from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning.evaluation import guesses, side_by_side
from supervised_reptile.learning.reptile import Guesses, Reptile, tree_map
from supervised_reptile.learning.sampling import Batches, EvaluationTasks, TrainingTasks
from supervised_reptile.learning.state import State, Step
from supervised_reptile.system import signals
from supervised_reptile.system.errors import LostError, RefusedError

CONFIG = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["host1:27182", "host2:27182"]}, "task": {"type": "worker", '
EXAMPLE += '"index": 0}}'
PORT = 27182  # under SLURM
POLL = 0.2  # seconds
GRACE = 1.0  # seconds within which a signal to all processes has reached all of them
Arrays = Sequence[np.ndarray]
# One of those who share tasks: carries out "train" for (state, tasks, step sizes), which gives a
# Step, and "guess" for (state, tasks), which gives Guesses. All of these are flat lists of arrays.
Member = Callable[[str, Arrays], Arrays]


class Cluster(typing.NamedTuple):
    """process: the number of this one. processes: how many there are. address: host and port of
    the leader."""

    process: int
    processes: int
    address: tuple[str, int]


def find() -> Cluster:
    """The Cluster that TF_CONFIG or SLURM's variables describe; without them, of one process.

    Raises RefusedError for a description that makes no sense.
    """
    if CONFIG not in os.environ:
        return _of_slurm()
    try:
        content = json.loads(os.environ[CONFIG])
        jobs, task = content["cluster"], content["task"]
        if unknown := jobs.keys() - {"chief", "worker"}:
            raise ValueError(f"a job {min(unknown)}, which has no part in a run")
        members = [(job, index) for job in sorted(jobs) for index in range(len(jobs[job]))]
        process = members.index((task["type"], int(task["index"])))
        host, _, port = jobs[members[0][0]][0].rpartition(":")
        return Cluster(process, len(members), (host, int(port)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{CONFIG} is not of the form {EXAMPLE} ({error!r})") from None


def _of_slurm() -> Cluster:
    variables = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")
    tasks, number, nodes = (os.environ.get(name, "") for name in variables)
    if tasks in ("", "1"):
        return Cluster(0, 1, ("", 0))
    first = re.fullmatch(r"([^,[]+)(?:\[(\d+)[^]]*\])?([^,[]*)(?:,.*)?", nodes)
    if not (tasks.isdigit() and number.isdigit() and first):
        told = ", ".join(f"{name}={os.environ.get(name, '')}" for name in variables)
        raise RefusedError(f"SLURM's variables describe no cluster ({told}): set {CONFIG}")
    # Of the nodes "n[03-07,9],m1", the first is n03.
    return Cluster(int(number), int(tasks), ("".join(part or "" for part in first.groups()), PORT))


def send(connection: Connection, head: object, arrays: Arrays = ()) -> None:
    """Send a message. head: for JSON. Raises OSError if nobody can receive it."""
    file = io.BytesIO()
    np.savez(file, *arrays, head=json.dumps(head))
    connection.send_bytes(file.getbuffer())


def receive(connection: Connection) -> tuple[typing.Any, Arrays]:
    """The next message. Raises EOFError or OSError if there will be none."""
    with np.load(io.BytesIO(connection.recv_bytes()), allow_pickle=False) as file:
        arrays = [file[f"arr_{index}"] for index in range(len(file.files) - 1)]
        return json.loads(str(file["head"])), arrays


class Worker:
    """Another process, as a Member of the leader's team."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def answer(self) -> tuple[typing.Any, Arrays]:
        """The next message from it. Raises LostError if it has ended."""
        try:
            return receive(self.connection)
        except (EOFError, OSError):
            raise LostError("another process of this run has ended, or is out of reach") from None

    def __call__(self, kind: str, arrays: Arrays) -> Arrays:
        """See Member."""
        with contextlib.suppress(OSError):  # of one that has ended; there will be no answer
            send(self.connection, kind, arrays)
        number, found = self.answer()
        if number and not signals.are_heard():
            os.kill(os.getpid(), number)
        return found


def local(reptile: Reptile, pixels: tf.Tensor) -> Member:
    """The Member that computes in this process."""
    one, untrained = np.zeros(1), reptile.new_state()
    last = Batches(one, one) if reptile.config.outer.foml else ()
    forms = {
        "train": (untrained, TrainingTasks(Batches(one, one), last), one),
        "guess": (untrained, EvaluationTasks(Batches(one, one), one)),
    }

    def call(kind: str, arrays: Arrays) -> Arrays:
        state, tasks, *sizes = tf.nest.pack_sequence_as(forms[kind], arrays)
        with tf.device(reptile.devices.names[0]):
            state = tree_map(tf.constant, state)
        if kind == "train":
            return _flat(reptile.train(state, pixels, tasks, sizes[0], 1))

        def draw(index: int) -> EvaluationTasks:
            return tree_map(lambda part: part[index : index + 1], tasks)

        found = guesses(reptile, state, pixels, draw, range(len(tasks.queries)))
        return [np.stack(parts) for parts in zip(*found)]

    return call


def _flat(*trees: typing.Any) -> Arrays:
    return [np.asarray(value) for value in tf.nest.flatten(trees)]


class Team(Reptile):
    """A Reptile whose tasks are shared out among members, which have the pixels."""

    def __init__(self, reptile: Reptile, members: Sequence[Member]) -> None:
        super().__init__(reptile.model, reptile.config, reptile.devices)
        self._members, self._idle = members, queue.Queue[Member]()
        for member in members:
            self._idle.put(member)

    def train(
        self,
        state: State,
        pixels: tf.Tensor,
        tasks: TrainingTasks,
        step_sizes: np.ndarray,
        count: int,
    ) -> Step:
        """`Reptile.train`. In the paper's order, this process trains alone."""
        if not self.config.outer.parallel_tasks:
            return super().train(state, pixels, tasks, step_sizes, count)
        step = Step(state, tf.constant(0.0))
        for index in range(count):
            one = tree_map(lambda part, n=index: part[n : n + 1], (tasks, step_sizes))
            step = self._meta_iteration(step, *one)
        return step

    def _meta_iteration(self, step: Step, tasks: TrainingTasks, step_size: np.ndarray) -> Step:
        """Each member makes it with its share of the tasks; the average of what they come to,
        weighted with the numbers of tasks."""
        numbers = np.arange(tasks.batches.indices.shape[1])
        shares = [share for share in np.array_split(numbers, len(self._members)) if len(share)]

        def train(part: tuple[Member, np.ndarray]) -> Arrays:
            member, share = part
            own = tree_map(lambda array: array[:, share], tasks)
            return member("train", _flat(step.state, own, step_size))

        found = list(side_by_side(train, zip(self._members, shares), len(shares)))
        weights = [len(share) for share in shares]
        mean = [tf.constant(np.average(parts, 0, weights), tf.float32) for parts in zip(*found)]
        return tf.nest.pack_sequence_as(step, mean)

    def guess(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Guesses:
        """`Reptile.guess`, by the next member that has nothing to do."""
        member = self._idle.get()
        try:
            return Guesses(*member("guess", _flat(state, tasks)))
        finally:
            self._idle.put(member)

    def tasks_at_once(self, total: int) -> tuple[int, int]:
        """`Reptile.tasks_at_once`: of a call of `guess`, which a member may divide."""
        size, calls = super().tasks_at_once(total)
        members = len(self._members)
        return min(size * calls, -(-total // members)), members + 1


def share(reptile: Reptile, pixels: tf.Tensor, workers: Sequence[Worker] = ()) -> Reptile:
    """The Reptile that shares tasks among the devices of this process, and workers."""

    def on(name: str) -> Member:
        devices = dataclasses.replace(reptile.devices, names=(name,))
        with tf.device(name):
            return local(Reptile(reptile.model, reptile.config, devices), tf.identity(pixels))

    outer, names = reptile.config.outer, reptile.devices.names
    if not (outer.parallel_tasks or reptile.config.run.pretrained):
        print("--distribute: trains in order, so that only evaluations are shared", file=sys.stderr)
    if len(names) > 1:
        reptile = Team(reptile, [on(name) for name in names])
    return Team(reptile, [local(reptile, pixels), *workers]) if workers else reptile


@contextlib.contextmanager
def lead(cluster: Cluster, devices: Devices) -> Iterator[list[Worker]]:
    """The Workers, once all are there. In the end, they are told the exit status.

    Raises RefusedError where there is nothing to share tasks among.
    """
    if len(devices.names) * cluster.processes == 1:
        raise RefusedError(
            f"--distribute: there is one device ({devices.kind}) and one process: start several "
            "processes (TF_CONFIG, or SLURM), or omit it"
        )
    workers: dict[int, Worker] = {}
    status = 1
    try:
        if cluster.processes > 1:
            with _listener(*cluster.address) as listener:
                while len(workers) < cluster.processes - 1:
                    connection = listener.accept()
                    with contextlib.suppress(EOFError, OSError, ValueError):  # of something else
                        workers[int(connection.recv_bytes(9))] = Worker(connection)
        yield [workers[number] for number in sorted(workers)]
        status = 0
    except RefusedError:
        status = 2
        raise
    except signals.Interrupted as interruption:
        status = 128 + interruption.number
        raise
    finally:
        for worker in workers.values():
            with contextlib.suppress(OSError):
                send(worker.connection, status)


def _listener(host: str, port: int) -> Listener:
    try:
        return Listener((host if host == "127.0.0.1" else "", port), backlog=128)
    except OSError as error:
        raise RefusedError(
            f"--distribute: process 0 cannot listen on port {port} of {host} ({error.strerror}): "
            f"name another one in {CONFIG}"
        ) from None


def check_same(workers: Sequence[Worker], summary: dict[str, str]) -> None:
    """Raise RefusedError if a worker refuses, or is about to do something else than this process.

    summary: of what this one is about to do, by the name of each thing.
    """
    for number, worker in enumerate(workers, start=1):
        told, _ = worker.answer()
        if "refusal" in told:
            raise RefusedError(f"{told['refusal']} (process {number} of {len(workers) + 1})")
        if different := [name for name, value in summary.items() if told[name] != value]:
            raise RefusedError(
                f"--distribute: process {number} of {len(workers) + 1} has other "
                f"{' and '.join(different)} than process 0: start all with the same command, on "
                "the same data, and with a --checkpoint that all of them see"
            )


def work(
    cluster: Cluster, prepare: Callable[[], tuple[dict[str, str], Callable]]
) -> typing.NoReturn:
    """Answer the leader's calls until it ends, silently, and exit with its status.

    prepare: gives the summary for `check_same`, or refuses, and what gives the algorithm and the
    pixels, if there are calls.
    """
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
        _connect(cluster) as leader,
    ):
        try:
            told, ready = prepare()
        except RefusedError as refusal:
            told, ready = {"refusal": str(refusal)}, list
        try:
            send(leader, told)
            status = _serve(leader, ready)
        except (EOFError, ConnectionError):
            raise LostError("process 0 of this run has ended, or is out of reach") from None
    sys.exit(status)


def _connect(cluster: Cluster) -> Connection:
    while True:
        try:
            connection = Client(cluster.address)
            connection.send_bytes(str(cluster.process).encode())
            return connection
        except (ConnectionError, TimeoutError):
            time.sleep(POLL)  # until process 0 is there


def _serve(leader: Connection, ready: Callable) -> int:
    """Answer calls, each with the number of the signal that this process has got, or 0."""
    member, noticed = None, math.inf
    with signals.deferred() as pending:
        while True:
            if pending:
                noticed = min(noticed, time.monotonic())
            if not leader.poll(POLL):
                continue
            asked, arrays = receive(leader)
            if not isinstance(asked, str):
                return asked
            member = member or local(*ready())
            # The leader may get the signal a moment later, and a second one would end it at once.
            due = time.monotonic() > noticed + GRACE
            found = member(asked, arrays)
            with contextlib.suppress(OSError):  # It may end without waiting for the answer.
                send(leader, pending.number if due else 0, found)
