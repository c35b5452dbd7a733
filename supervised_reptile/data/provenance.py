"""Where the images of a data folder came from: its file origin.json, written by fetch_data.sh."""

import datetime
import json
import pathlib
from urllib.parse import urlsplit

from supervised_reptile.system.errors import RefusedError

NAME = "origin.json"


def write(folder: pathlib.Path, source: str, packaging: str, digest: str) -> None:
    """Record in a new dataset's folder where it came from, and the digest of all its files.

    source: an address; a user name and password in it are left out, as results carry it along.
    """
    parts = urlsplit(source)
    source = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    content = {"source": source, "packaging": packaging, "digest": digest, "date": date}
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n")


def read(folder: str | pathlib.Path) -> dict[str, str]:
    """What a data folder's origin.json says, or, without one, that the images are the user's own.

    Raises RefusedError if it is damaged.
    """
    path = pathlib.Path(folder) / NAME
    if not path.exists():
        return {"source": f"{folder}, a folder without {NAME}"}
    try:
        content = json.loads(path.read_text())
        return {key: content[key] for key in ("source", "packaging", "digest", "date")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{path} is damaged ({error!r}): fetch the data again") from None
