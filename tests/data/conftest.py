"""Reading without further processes, which take longer to start than a few images to read."""

import pytest

from supervised_reptile.data import decoding


@pytest.fixture
def in_this_process(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(decoding.concurrent.futures, "ProcessPoolExecutor", refuse)
