"""Files that are whole, whatever happens while they are written: a kill, a full disk, no power."""

import os


def temporary(path):
    """Where a file is written before it takes its place."""
    return path.with_name(path.name + ".tmp")


def write_atomically(path, text):
    """Write a whole file or nothing. Raises OSError."""
    beside = temporary(path)
    try:
        beside.write_text(text)
        put_in_place({beside: path})
    finally:
        beside.unlink(missing_ok=True)


def put_in_place(files):
    """Rename whole files, one after another. files: from each to its place, in one folder."""
    for temporary in files:
        sync(temporary)
    for temporary, place in files.items():
        os.replace(temporary, place)
    sync(place.parent)


def sync(path):
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
