"""From the folder of a run to the Classifier of its model."""

import typing
from pathlib import Path
from typing import Any

from supervised_reptile import args, plan
from supervised_reptile.args import Config
from supervised_reptile.devices.choice import quiet
from supervised_reptile.plan import SavedModel
from supervised_reptile.runs import record
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.machine import PACKAGE

if typing.TYPE_CHECKING:
    from supervised_reptile.classification.classifier import Classifier

# The included models: of an installed package, and of a checkout.
INCLUDED = (PACKAGE / "models", PACKAGE.with_name("experiments") / "models")


def load(checkpoint: str, dataset: str | None = None, **flags: Any) -> "Classifier":
    """`supervised_reptile.load`, which says what is given, returned and raised."""
    place = Path(checkpoint)
    if place.name == checkpoint and not place.exists():
        included = {path.name: path for of in INCLUDED if of.is_dir() for path in of.iterdir()}
        if checkpoint not in included:
            raise RefusedError(
                f"{checkpoint} is no folder here, and none of the included models: "
                f"{', '.join(sorted(included))}"
            )
        place = included[checkpoint]
    recorded = record.read(record.find_checkpoint(place).parent)
    name = recorded.config.dataset if recorded else dataset
    if name is None:
        raise RefusedError(f"{place} has no run.json: say which dataset it was trained on")
    if dataset not in (None, name) or name not in ("omniglot", "miniimagenet"):
        raise RefusedError(f"dataset={dataset!r}: the model in {place} was trained on another one")
    if strangers := flags.keys() - Config.of(name, {}).flags().keys():
        raise RefusedError(f"{min(strangers)} is no flag of a model: check its name")
    flags["checkpoint"] = place
    words = [args.written(flag, value, "=") for flag, value in flags.items()]
    return restore(plan.saved_model(name, args.parse(f"run_{name}.py", name, words)))


def restore(model: SavedModel) -> "Classifier":
    """The Classifier of a checkpoint. Raises RefusedError if that is not sound."""
    with quiet():
        from supervised_reptile.classification.classifier import Classifier
        from supervised_reptile.learning import models
        from supervised_reptile.runs import checkpoints

    network = models.MODELS[model.config.dataset]
    state = checkpoints.restore(model.prefix, network, model.config)
    return Classifier(network, model.config, state)
