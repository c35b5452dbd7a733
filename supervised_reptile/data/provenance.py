"""Where the images of a data folder came from: its file origin.json, written by fetch_data.sh."""

import datetime
import json
import pathlib
from urllib.parse import urlsplit

from supervised_reptile.system.errors import RefusedError

NAME = "origin.json"
KEYS = ("source", "packaging", "digest", "date")
ORIGINAL = "ILSVRC2012_img_train"  # how miniImageNet's packaging begins if we have resized it


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
    """The content of a data folder's origin.json. Without that file, or if another program wrote
    it, the images are said to be the user's own, and there is no "digest".

    Raises RefusedError if it is damaged.
    """
    path = pathlib.Path(folder) / NAME
    if not path.exists():
        return {"source": f"{folder}, a folder without {NAME}"}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"{path} is damaged ({error}): fetch the data again, or remove this file if the images "
            "are your own"
        ) from None
    if not (isinstance(content, dict) and content.keys() >= set(KEYS)):
        return {"source": f"{folder}, whose {NAME} was not written by fetch_data.sh"}
    return {key: content[key] for key in KEYS}
