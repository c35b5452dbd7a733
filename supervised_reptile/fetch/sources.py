"""Where to fetch from."""

from typing import NamedTuple


class Sources(NamedTuple):
    """The addresses to fetch from, as the environment sets them; "" where it does not."""

    omniglot: str
    imagenet: str
    lists: str
    miniimagenet: str
