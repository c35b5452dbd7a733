"""The processes of a run that several share (--distribute): who they are, and what they tell.

Process 0 leads. It is the ordinary program, and alone prints, and reads and writes the run's
folder. The others, the workers, load the same images and answer the leader's calls until it ends.
Messages go over TCP, as JSON and arrays; nothing that is received is executed.
"""

import contextlib
import io
import json
import math
import os
import re
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener

import numpy as np

from supervised_reptile.devices.choice import Devices
from supervised_reptile.system import signals
from supervised_reptile.system.errors import LostError, RefusedError

CONFIG = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["a:27182", "b:27182"]}, "task": {"type": "worker", "index": 0}}'
PORT = 27182  # under SLURM
POLL = 0.2  # seconds
GRACE = 1.0  # seconds within which a signal to all processes has reached all of them
Arrays = Sequence[np.ndarray]
Member = Callable[[str, Arrays], Arrays]  # what carries out calls, see learning/team.py


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
        parts = [job for job in ("chief", "worker") if job in jobs]  # others have no part in a run
        members = [(job, index) for job in parts for index in range(len(jobs[job]))]
        process = members.index((task["type"], int(task["index"])))
        host, _, port = jobs[members[0][0]][0].rpartition(":")
        return Cluster(process, len(members), (host, int(port)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{CONFIG} is not of the form {EXAMPLE} ({error!r})") from None


def _of_slurm() -> Cluster:
    variables = ("STEP_NUM_TASKS", "PROCID", "STEP_NODELIST")
    tasks, number, nodes = (os.environ.get(f"SLURM_{name}", "") for name in variables)
    if tasks in ("", "1"):
        return Cluster(0, 1, ("", 0))
    # Of the nodes "n[03-07,9],m1", the first is n03.
    first = re.fullmatch(r"([^,[]+)(?:\[(\d+)[^]]*\])?([^,[]*)(?:,.*)?", nodes)
    if not (tasks.isdigit() and number.isdigit() and first):
        told = f"{tasks} tasks, SLURM_PROCID={number}, SLURM_STEP_NODELIST={nodes}"
        raise RefusedError(f"SLURM's variables describe no cluster ({told}): set {CONFIG}")
    return Cluster(int(number), int(tasks), ("".join(part or "" for part in first.groups()), PORT))


def send(connection: Connection, head: object, arrays: Arrays = ()) -> None:
    """Send a message. head: for JSON. Nothing happens if the other has ended: `receive` tells."""
    file = io.BytesIO()
    np.savez(file, *arrays, head=json.dumps(head))
    with contextlib.suppress(OSError):
        connection.send_bytes(file.getbuffer())


def receive(connection: Connection) -> tuple[typing.Any, Arrays]:
    """The next message of another process. Raises LostError if it has ended."""
    try:
        content = connection.recv_bytes()
    except (EOFError, OSError):
        raise LostError("another process of this run has ended, or is out of reach") from None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = [file[f"arr_{index}"] for index in range(len(file.files) - 1)]
        return json.loads(str(file["head"])), arrays


def remote(worker: Connection) -> Member:
    """The Member that another process is. Calls of several threads are carried out in turn."""
    turn = threading.Lock()

    def call(kind: str, arrays: Arrays) -> Arrays:
        with turn:
            send(worker, kind, arrays)
            number, found = receive(worker)
        if number and not signals.are_heard():
            os.kill(os.getpid(), number)
        return found

    return call


@contextlib.contextmanager
def lead(cluster: Cluster, devices: Devices) -> Iterator[list[Connection]]:
    """Connections to the workers, once all are there. In the end, they are told the exit status.

    Raises RefusedError where there is nothing to share tasks among, or for a port that is taken.
    """
    if len(devices.names) * cluster.processes == 1:
        raise RefusedError(
            f"--distribute: there is one device ({devices.kind}) and one process: start several "
            "processes (TF_CONFIG, or SLURM), or omit it"
        )
    workers: dict[int, Connection] = {}
    others = range(1, cluster.processes)
    try:
        if others:
            host, port = cluster.address
            try:
                listener = Listener((host if host == "127.0.0.1" else "", port), backlog=128)
            except OSError as error:
                raise RefusedError(
                    f"--distribute: process 0 cannot listen on port {port} of {host} "
                    f"({error.strerror}): name another one in {CONFIG}"
                ) from None
            with listener:
                while len(workers) < len(others):
                    connection = listener.accept()
                    with contextlib.suppress(EOFError, OSError, ValueError):  # of something else
                        if connection.poll(GRACE):
                            workers[others.index(int(connection.recv_bytes(9)))] = connection
        yield [workers[number] for number in sorted(workers)]
    finally:
        cause = sys.exc_info()[1]
        status = 2 if isinstance(cause, RefusedError) else int(cause is not None)
        if isinstance(cause, signals.Interrupted):
            status = 128 + cause.number
        for worker in workers.values():
            send(worker, status)


def check_same(workers: Sequence[Connection], summary: dict[str, str]) -> None:
    """Raise RefusedError if a worker refuses, or is about to do something else than this process.

    summary: of what this one is about to do, by the name of each thing.
    """
    for number, worker in enumerate(workers, start=1):
        told, _ = receive(worker)
        who = f"process {number} of {len(workers) + 1}"
        if "refusal" in told:
            raise RefusedError(f"{told['refusal']} ({who})")
        if different := [name for name, value in summary.items() if told[name] != value]:
            raise RefusedError(
                f"--distribute: {who} has other {' and '.join(different)} than process 0: give "
                "all the same command and data, and a --checkpoint that all of them see"
            )


def work(cluster: Cluster, prepare: Callable[[], tuple[dict, Callable]]) -> typing.NoReturn:
    """Answer the leader's calls until it ends, silently, and exit with its status.

    prepare: gives the summary for `check_same`, and what gives the Member for calls; or refuses.
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
            told, ready = {"refusal": str(refusal)}, dict  # which nobody will call
        send(leader, told)
        status = _serve(leader, ready)
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
            if pending.number:
                noticed = min(noticed, time.monotonic())
            if not leader.poll(POLL):
                continue
            asked, arrays = receive(leader)
            if not isinstance(asked, str):
                return asked
            member = member or ready()
            # The leader may get the signal a moment later, and a second one would end it at once.
            due = time.monotonic() > noticed + GRACE
            send(leader, pending.number if due else 0, member(asked, arrays))
