"""Keeping quiet what no user of this program has asked for."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from supervised_reptile.system.errors import FailedError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what TensorFlow's C++ code writes while it is imported off the screen.

    TF_CPP_MIN_LOG_LEVEL silences only what comes later. Whoever sets it sees everything.
    Raises FailedError for a package that cannot be loaded.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except ImportError as error:
            line = str(error).splitlines()[0]
            raise FailedError(f"a package cannot be loaded ({line}): is memory short?") from error
        except Exception:
            log.seek(0)
            os.write(screen, log.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
