"""The processes that share a run, as the environment names them: TF_CONFIG, or SLURM's variables.

Nothing here needs TensorFlow, but what SLURM's variables say, which its own resolver reads.
"""

import json
import os
import typing

from supervised_reptile.system.errors import RefusedError

CONFIG = "TF_CONFIG"
JOBS = ("chief", "worker")  # in the order of the processes' numbers
PORT = 8888  # the first of a node under SLURM


class Cluster(typing.NamedTuple):
    """process: the number of this one, from 0 on. processes: how many there are."""

    process: int
    processes: int


ALONE = Cluster(0, 1)


def find() -> Cluster:
    """The Cluster that the environment describes, ALONE without one. TF_CONFIG is set if SLURM has
    started the processes.

    Raises RefusedError for a description that makes no sense.
    """
    if CONFIG not in os.environ and _tasks_of_slurm() > 1:
        os.environ[CONFIG] = json.dumps(_of_slurm())
    if CONFIG not in os.environ:
        return ALONE
    try:
        return _read(json.loads(os.environ[CONFIG]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        example = (
            '{"cluster": {"worker": ["host1:8888", "host2:8888"]}, "task": {"type": "worker", '
        )
        example += '"index": 0}}'
        raise RefusedError(f"{CONFIG} is not of the form {example} ({error!r})") from None


def process() -> int:
    """The number of this process, 0 where the environment does not say it; refuses nothing."""
    try:
        return find().process if CONFIG in os.environ else int(os.environ.get("SLURM_PROCID", 0))
    except (RefusedError, ValueError):
        return 0


def _read(content: dict) -> Cluster:
    members = {job: content["cluster"].get(job, []) for job in JOBS}
    if unknown := content["cluster"].keys() - set(JOBS):
        raise ValueError(f"a job {min(unknown)}, which has no part in a run")
    kind, index = content["task"]["type"], int(content["task"]["index"])
    if not 0 <= index < len(members[kind]):
        raise ValueError(f"no {kind} {index}")
    before = len(members["chief"]) if kind == "worker" else 0
    return Cluster(before + index, sum(map(len, members.values())))


def _tasks_of_slurm() -> int:
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    return int(tasks) if tasks.isdigit() else 1


def _of_slurm() -> dict:
    """TF_CONFIG as SLURM's variables describe it, through TensorFlow's resolver."""
    import tensorflow as tf

    try:
        # SLURM hands out the GPUs: the numbers of them are there to satisfy the resolver.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=PORT, gpus_per_node=2**10, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = resolver.cluster_spec()
    except (RuntimeError, ValueError, OSError) as error:
        raise RefusedError(
            f"SLURM's variables describe no cluster ({error}): set {CONFIG}"
        ) from None
    kind, index = resolver.get_task_info()
    host, own = (
        cluster.task_address(kind, index).rpartition(":")[0],
        os.environ.get("SLURMD_NODENAME"),
    )
    if own and host != own:
        raise RefusedError(
            f"process {index} of SLURM's step is on {own}, but TensorFlow, which sorts nodes by "
            f"name, expects it on {host}: choose others with --nodelist, or set {CONFIG}"
        )
    return {"cluster": cluster.as_dict(), "task": {"type": kind, "index": index}}
