"""Define the catalogue: the file names, the summary and the feedback kept with each photo.

`jobs.sqlite_catalog.SqliteCatalog` and `jobs.cluster.catalog.RedisCatalog` keep it with the photos,
and delete it with them.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from photo_result import Result

MOST_NAMES = 10  # names of one photo per owner; the oldest ones beyond it are forgotten
LONGEST_NAME = 255  # characters, as in most file systems

_LONGEST_PATH = 4096  # characters of a path that are looked at
_LONGEST_ENDING = 16  # characters of an ending that stays when a name is shortened


@dataclass(frozen=True)
class Summary:
    """The figures of a result that a list of photos shows.

    Attributes:
        width, height: size in pixels of the photo as posted, with its EXIF orientation applied.
        parts: names of the parts that are sure enough to be delivered by default.
        type: name of the body type; None if the result has none.
        confidence: of the type, 0..1; None if there is no type.
        damages: number of damages that are sure enough to be delivered by default; None if the
            photo was not examined for damage.
    """

    width: int
    height: int
    parts: tuple[str, ...]
    type: str | None
    confidence: float | None
    damages: int | None = None

    @classmethod
    def of(cls, result: Result) -> Summary:
        """Return the summary of a result."""
        return cls(
            width=result.width,
            height=result.height,
            parts=tuple(part.name for part in result.sure_parts()),
            type=None if result.type is None else result.type.name,
            confidence=None if result.type is None else round(result.type.confidence, 4),
            damages=None if result.damages is None else len(result.sure_damages()),
        )

    def pack(self) -> str:
        """Serialise the summary to text for `unpack`."""
        fields = dict(vars(self))
        if self.damages is None:  # earlier releases know no such field
            del fields["damages"]
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def unpack(cls, text: str | bytes) -> Summary:
        """Return the summary that `pack` serialised."""
        fields = json.loads(text)
        return cls(**fields | {"parts": tuple(fields["parts"])})


@dataclass(frozen=True)
class Feedback:
    """The marks of an owner on a result.

    Attributes:
        wrong: names of parts that are drawn wrongly.
        missing: names of parts that are in the photo but not in the result.
        type: name of the right body type; None if the owner named none.
        comment: text of the owner.
        time: Unix time of the marks.
        model_version: version of the models that made the marked result. Later models may have
            made another one since.
    """

    wrong: list[str]
    missing: list[str]
    type: str | None
    comment: str
    time: float
    model_version: str

    @property
    def is_empty(self) -> bool:
        """True if nothing is marked."""
        return not (self.wrong or self.missing or self.type or self.comment)

    def pack(self) -> str:
        """Serialise the marks to text for `unpack`."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def unpack(cls, text: str | bytes) -> Feedback:
        """Return the marks that `pack` serialised."""
        return cls(**json.loads(text))


class PhotoEntry(NamedTuple):
    """A photo that is Ready, in a list.

    Attributes:
        digest: its hash.
        ended: Unix time at which it became Ready.
        summary: of its result.
        file_names: names under which the owner posted it, newest first.
        feedback: marks of the owner; None if there are none, or if they were not asked for.
    """

    digest: str
    ended: float
    summary: Summary
    file_names: list[str]
    feedback: Feedback | None = None


class PhotoPage(NamedTuple):
    """Some photos of a list, and the hash after which the next page starts; None on the last."""

    entries: list[PhotoEntry]
    next: str | None


class Catalog(Protocol):
    """Catalogue of the photos: file names, summaries and feedback, for the owners.

    All methods are atomic, and safe to call from several threads. Every method may raise
    `jobs.store.StoreError`. The owner "" is one of its own here: it sees all photos, but only the
    names and the feedback that were posted without an owner.
    """

    def file_names(self, digest: str, owner: str = "") -> list[str]:
        """Return the names under which an owner posted a photo, newest first."""
        ...

    def page(
        self, limit: int, after: str | None = None, owner: str = "", *, marked: bool = False
    ) -> PhotoPage | None:
        """Return some of the photos that are Ready, in the order of `jobs.engine.Engine.ready`.

        No result is read, except once for each photo that an earlier release processed.

        Args:
            limit: most photos to return.
            after: hash of the photo after which they start; None for the first photos.
            owner: return only the photos of this owner; "" for all photos.
            marked: return only the photos on which this owner has feedback, with the feedback.

        Returns:
            The page; None if this owner does not know the photo `after`.
        """
        ...

    def feedback(self, digest: str, owner: str = "") -> Feedback | None:
        """Return the feedback of an owner on a photo; None if there is none."""
        ...

    def set_feedback(self, digest: str, feedback: Feedback | None, owner: str = "") -> bool:
        """Replace the feedback of an owner on a photo.

        It stays when the photo is processed again, and is deleted with the photo.

        Args:
            digest: hash of the photo.
            feedback: the new feedback; None to delete it.
            owner: owner that marks the photo.

        Returns:
            False if this owner does not know the photo.
        """
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
