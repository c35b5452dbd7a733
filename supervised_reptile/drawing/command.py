"""Serving the page, for a command line."""

from supervised_reptile import plan
from supervised_reptile.classification import loading
from supervised_reptile.plan import SavedModel


def draw(model: SavedModel, port: int) -> None:
    """Serve a page to draw in until Ctrl-C. port: 0 for any that is free.

    Raises RefusedError if the checkpoint is not sound, or the port cannot be used.
    """
    plan.announce(model, plan.ADAPTING)
    classifier = loading.restore(model)
    from supervised_reptile.drawing import server  # with TensorFlow, as the model is

    server.serve(classifier, port)
