"""Find the photos in a folder, and name the kinds of the other files there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision.image_file import read_file
from vision.image_parts import BrokenFileError, UnknownFormatError

# Of files that are searched in folders. Cameras, phones and Windows use the rare ones.
ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs"),
    )
)

_HEAD = 4096  # bytes of a file that are enough to recognise its format
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_MAC_FOLDER = "__MACOSX"  # in ZIP files of macOS: a small twin `._car.jpg` of each `car.jpg`


def find_photos(folder: Path, out: Path, ending: str) -> tuple[list[Path], list[Path]]:
    """Return the photos in a folder and its subfolders, and the other files there.

    Twins of macOS, the results of earlier runs, and files that systems hide are in neither list.

    Args:
        folder: folder to search.
        out: folder of the results, which may be in `folder` or the same.
        ending: extension of the results, with its dot.

    Returns:
        Two lists, each sorted by path.
    """
    results = _inside(out.resolve(), folder.resolve())
    is_same = results == Path()
    photos, others = [], []
    for inside in sorted(_files(folder)):
        if results is not None and not is_same and inside.is_relative_to(results):
            continue
        suffix = inside.suffix.lower()
        if suffix in ENDINGS:
            photos.append(folder / inside)
        elif not _is_hidden(inside) and not (is_same and suffix in (ending, ".yaml")):
            others.append(folder / inside)
    return photos, others


def kinds(files: Iterable[Path]) -> Counter[str]:
    """Count files by kind, such as "PDF"."""
    return Counter(_kind(file) for file in files)


def _inside(path: Path, folder: Path) -> Path | None:
    """Return a path relative to a folder; None if it is not in it."""
    return path.relative_to(folder) if path.is_relative_to(folder) else None


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, relative to it, without the twins of macOS."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if _MAC_FOLDER not in inside.parts and not path.name.startswith("._") and path.is_file():
            yield inside


def _is_hidden(inside: Path) -> bool:
    """Return True for a file that systems do not show, relative to its folder."""
    return inside.name.lower() in _SYSTEM_FILES or any(
        part.startswith(".") for part in inside.parts
    )


def _kind(file: Path) -> str:
    """Return the format of a file by its content; for formats of other programs, its ending."""
    ending = file.suffix[1:].upper() or "without ending"
    try:
        with file.open("rb") as opened:
            read_file(opened.read(_HEAD))
    except OSError:
        return ending
    except UnknownFormatError as error:
        return ending if error.name is None else error.name.partition(" ")[2]
    except BrokenFileError:
        pass  # only its start was read
    return f"{ending} (photo)"
