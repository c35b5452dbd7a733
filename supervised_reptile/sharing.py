"""One run of several processes: all refuse alike, and the first of them writes and prints.

The others do all the same, silently, in a folder of their own that is removed at the end.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import typing
from collections.abc import Callable, Iterator
from typing import TypeVar

from supervised_reptile import plan
from supervised_reptile.args import Config
from supervised_reptile.classification.examples import Examples
from supervised_reptile.data.image_set import ImageSet, Split
from supervised_reptile.runs.record import PLACES
from supervised_reptile.system import machine
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.signals import Interrupted

if typing.TYPE_CHECKING:
    from supervised_reptile.devices.replicas import Replicas

Result = TypeVar("Result")


class Prepared(typing.NamedTuple):
    """What a command means, and what was read for it: images with their split, or examples."""

    plan: plan.Plan
    images: ImageSet | None = None
    split: Split | None = None
    examples: Examples | None = None

    def loaded(self) -> tuple[ImageSet, Split]:
        """The images and their split, of a plan that needs them."""
        assert self.images and self.split is not None
        return self.images, self.split


def alike(replicas: "Replicas", work: Callable[[], Result]) -> Result:
    """What `work` returns. Raises RefusedError in all processes if one of them refuses."""
    refusal, result = "", None
    try:
        result = work()
    except RefusedError as error:
        refusal = str(error) or repr(error)
    for number, told in enumerate(replicas.tell(refusal)):
        if told:
            where = f" (process {number} of {replicas.processes})" if number else ""
            raise RefusedError(f"{told}{where}")
    return result  # type: ignore[return-value]


def check_same(replicas: "Replicas", prepared: Prepared) -> None:
    """Raise RefusedError, in all processes, if what they are about to do differs."""
    flags = {}
    if not isinstance(prepared.plan, plan.Classification):
        config = prepared.plan.config.flags()
        flags = {name: value for name, value in config.items() if name not in PLACES}
    mine = {
        "plans": type(prepared.plan).__name__,
        "flags": _digest(flags),
        "images": prepared.images.digest if prepared.images else "",
        "versions of TensorFlow or NumPy": _digest(machine.versions()),
    }
    for number, told in enumerate(replicas.tell(json.dumps(mine))):
        theirs = json.loads(told)
        if different := [name for name, value in mine.items() if theirs[name] != value]:
            raise RefusedError(
                f"--distribute: process {number} of {replicas.processes} has other "
                f"{' and '.join(different)} than process {replicas.process}: start all with the "
                "same command, on the same data, and with a --checkpoint that all of them see"
            )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def silent(replicas: "Replicas") -> Iterator[None]:
    """A context in which only the first process prints; what ends another is said by main."""
    if replicas.first:
        yield
        return
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


@contextlib.contextmanager
def own_folder(replicas: "Replicas", config: Config) -> Iterator[Config]:
    """A context with the Config of this process: the first one's is as given, others write to a
    folder of their own.

    They end together, since one that ends first leaves the others without an answer.
    """
    if replicas.first:
        yield config
        replicas.exchange([0])
        return
    with tempfile.TemporaryDirectory(prefix="supervised-reptile-") as folder:
        run = dataclasses.replace(config.run, checkpoint=folder)
        try:
            yield dataclasses.replace(config, run=run)
        except Interrupted as interruption:
            raise Interrupted(interruption.number) from None  # nothing is saved here
        replicas.exchange([0])
