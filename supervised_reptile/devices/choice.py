"""Which device computes, decided once: a GPU if TensorFlow can use one, unless told otherwise.

A GPU's memory is taken as needed. TF32, which rounds factors to 10 bits, is off unless asked for:
a GPU then computes in float32, as a CPU does. XLA chooses its kernels without timing them, or a
resumed run might get others than the process before it.
"""

import contextlib
import dataclasses
import os
import platform
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from supervised_reptile.args import Computing
from supervised_reptile.system import machine, output
from supervised_reptile.system.errors import RefusedError

INSTALL = "pip install 'supervised-reptile[gpu]', and TF_CPP_MIN_LOG_LEVEL=0 shows what is missing"
SECONDS = 20  # for nvidia-smi, which waits for a GPU that has failed
CPU_MEMORY = 2**30  # bytes that the widest operations of all calls on a CPU may take
GPU_MEMORY = 4 * 2**30  # bytes of a GPU that its driver says nothing of
PART = 16  # of a GPU's memory may go to the widest operation of a call
SAME_BITS = "--xla_gpu_deterministic_ops=true"
MOST_TASKS = 512  # in a call on a GPU


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context in which to import TensorFlow, without what its C++ code writes meanwhile, and with
    oneDNN, which computes miniImageNet's convolutions on a CPU.

    TF_CPP_MIN_LOG_LEVEL silences only what comes later. Whoever sets it sees everything.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # else only on newer processors
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)


class Card(typing.NamedTuple):
    """A GPU of this machine as its driver describes it. memory: bytes."""

    name: str
    driver: str
    memory: int


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of this process.

    kind: "CPU" or "GPU". names: TensorFlow's. models: what the GPUs are. cards: all that the
    machine has, in use or not. tf32: whether it was asked for. processes: how many share the run.
    """

    kind: str = "CPU"
    names: tuple[str, ...] = ("/CPU:0",)
    models: str = ""
    cards: tuple[Card, ...] = ()
    tf32: bool = False
    processes: int = 1

    def describe(self) -> dict:
        """Everything that decides how sums are rounded, apart from versions."""
        flags = os.environ.get("XLA_FLAGS", "").replace(SAME_BITS, "").strip()
        here = {"device": self.kind, "cpu": processor(), "cores": machine.cores()}
        here |= {"xla_flags": flags, "processes": self.processes}
        if self.kind == "CPU":
            return here
        return here | {
            "gpu": self.models,
            "gpus": len(self.names),
            "driver": ", ".join(sorted({card.driver for card in self.cards})) or "unknown",
            "tf32": self.tf32,
        }

    def __str__(self) -> str:
        if self.kind == "CPU":
            return f"on the CPU, {_counted(machine.cores(), 'core')}"
        tf32 = f"TF32 {'on' if self.tf32 else 'off'}"
        return f"on {_counted(len(self.names), 'GPU')}, {self.models}, float32, {tf32}"

    def tasks_at_once(self, memory: int) -> int:
        """How many tasks go through one call, with operations that take so many bytes for each.

        One on a CPU: its caches hold no more. On a GPU, as many as a part of its memory holds.
        """
        if self.kind == "CPU":
            return 1
        smallest = min((card.memory for card in self.cards), default=GPU_MEMORY)
        return max(1, min(MOST_TASKS, smallest // PART // memory))

    def calls_at_once(self, memory: int) -> int:
        """How many calls go side by side, with operations that take so many bytes in each.

        One more than there are cores or GPUs, so that none of these waits while Python draws tasks.
        """
        if self.kind == "CPU":
            return max(1, min(machine.cores() + 1, CPU_MEMORY // memory))
        return len(self.names) + 1


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def choose(asked: Computing) -> Devices:
    """The Devices of this process; TensorFlow uses no others from now on.

    Raises RefusedError for a GPU that is not there or cannot be used.
    """
    import tensorflow as tf

    # "" or "-1": somebody has decided that no GPU is used.
    none = asked.device == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    cards = () if none else cards_there()
    there = tf.config.list_physical_devices("GPU")
    gpus = [] if asked.device == "cpu" else there
    if ":" in asked.device or not asked.distribute:
        number = int(asked.device.partition(":")[2] or 0)
        gpus = gpus[number : number + 1]
    if asked.device.startswith("gpu") and not gpus:
        why = f"the GPUs are gpu:0 to gpu:{len(there) - 1}" if there else _why_none(cards)
        raise RefusedError(f"--device {asked.device}: {why}")
    if asked.tf32 and not gpus:
        raise RefusedError("--tf32 is for GPUs, and this runs on the CPU: omit it")
    if there:
        tf.config.set_visible_devices(gpus, "GPU")
    if not gpus:
        return Devices(cards=cards)
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    own = os.environ.get("XLA_FLAGS", "").strip()
    if own[:1] in ("", "-"):  # not the name of a file with flags
        # XLA reads them when it first compiles; the last one counts, so that the user's own do.
        os.environ["XLA_FLAGS"] = f"{SAME_BITS} {own}"
    tf.config.experimental.enable_tensor_float_32_execution(asked.tf32)
    details = map(tf.config.experimental.get_device_details, gpus)
    models = dict.fromkeys(found.get("device_name", "of unknown model") for found in details)
    names = tuple(f"/GPU:{index}" for index in range(len(gpus)))  # of those that are visible
    return Devices("GPU", names, ", ".join(models), cards, asked.tf32)


def announce(devices: Devices) -> None:
    """Say on standard error where things are computed, and why not on a GPU if one is there."""
    why = f": {_why_none(devices.cards)}" if devices.kind == "CPU" and devices.cards else ""
    waiting = f", with {devices.processes} processes: waiting until all are there"
    several = waiting if devices.processes > 1 else ""
    output.note(f"Computing {devices}{several}{why}")


def _why_none(cards: tuple[Card, ...]) -> str:
    if not cards:
        return "no NVIDIA driver is at work here, or CUDA_VISIBLE_DEVICES hides all GPUs"
    return f"a GPU is there ({cards[0].name}), but TensorFlow cannot use it: {INSTALL}"


def processor() -> str:
    """The name of the processor."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.M)
    return found[1] if found else platform.processor()


def cards_there() -> tuple[Card, ...]:
    """The GPUs that NVIDIA's driver knows; none if there is no such driver."""
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.check_output(
            ["nvidia-smi", *query], stderr=subprocess.DEVNULL, text=True, timeout=SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = [line.rsplit(", ", 2) for line in text.splitlines() if line.count(",") >= 2]
    # A GPU that shares the machine's memory says "[N/A]".
    return tuple(
        Card(name, driver, int(memory) * 2**20 if memory.isdigit() else GPU_MEMORY)
        for name, driver, memory in found
    )
