"""Define what is kept about each photo for its owners: the names of its files.

`jobs.sqlite_catalog.SqliteCatalog` and `jobs.cluster.catalog.RedisCatalog` keep it with the photos,
and delete it with them.
"""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Protocol

MOST_NAMES = 10  # names of one photo per owner; the oldest ones beyond it are forgotten
LONGEST_NAME = 255  # characters, as in most file systems

_LONGEST_PATH = 4096  # characters of a path that are looked at
_LONGEST_ENDING = 16  # characters of an ending that stays when a name is shortened


class Catalog(Protocol):
    """What is kept about each photo for its owners.

    All methods are atomic, and safe to call from several threads. Every method may raise
    `jobs.store.StoreError`. The owner "" is one of its own here: it sees all photos, but only the
    names that were posted without an owner.
    """

    def file_names(self, digest: str, owner: str = "") -> list[str]:
        """Return the names under which an owner posted a photo, newest first."""
        ...


def plain_file_name(path: str) -> str | None:
    """Return the name at the end of a path, or None if nothing is left of it.

    Folders, control characters and other characters without a shape are cut off, and every kind of
    space becomes a plain one. A long name loses the end of its stem.

    Args:
        path: name of a file with or without folders, of any system.

    Returns:
        1 to `LONGEST_NAME` printable characters without slashes.
    """
    path = path[-_LONGEST_PATH:]
    name = path[max(path.rfind("/"), path.rfind("\\")) + 1 :]
    spaced = (" " if unicodedata.category(letter) == "Zs" else letter for letter in name)
    name = "".join(letter for letter in spaced if letter.isprintable()).strip()
    if name in ("", ".", ".."):
        return None
    if len(name) > LONGEST_NAME:
        ending = PurePosixPath(name).suffix
        ending = ending if len(ending) <= _LONGEST_ENDING else ""
        name = name[: LONGEST_NAME - len(ending)] + ending
    return name
