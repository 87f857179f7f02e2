"""Define the formats of the command line: those of the service, and files made with the photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from cli.overlay import overlay
from exports import FORMATS, Format


@dataclass(frozen=True)
class OutputFormat(Format):
    """One value of `--format`.

    Attributes:
        source: name of the format of the service from which the file is made.
        draw: returns the file for the bytes of the photo, the document in the source format, and
            the most pixels that are decoded; None if the document is the file.
        is_dataset: true if copies of the photos are among the results.
    """

    source: str = ""
    draw: Callable[[bytes, bytes, int], bytes] | None = None
    is_dataset: bool = False

    @property
    def writes_pictures(self) -> bool:
        """True if a later run could take the results for photos."""
        return self.draw is not None or self.is_dataset


def _derived(source: str, **changes: Any) -> OutputFormat:
    """Return an output format that is made from a format of the service."""
    entry = FORMATS[source]
    values = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return OutputFormat(**(values | {"source": source} | changes))


_OVERLAY = _derived(
    "json",
    name="overlay",
    media_type="image/jpeg",
    ending=".jpg",
    description="photo with its parts and their names, as JPEG",
    normalizable=False,
    draw=partial(overlay, kind="JPEG"),
)

OUTPUT_FORMATS: dict[str, OutputFormat] = {
    entry.name: entry
    for entry in (
        *(_derived(name) for name in FORMATS),
        _OVERLAY,
        replace(
            _OVERLAY,
            name="overlay-png",
            media_type="image/png",
            ending=".png",
            description="the same as PNG",
            draw=partial(overlay, kind="PNG"),
        ),
        _derived(
            "yolo",
            name="yolo-dataset",
            description="images, labels and data.yaml for Ultralytics",
            paired_by_stem=False,
            is_dataset=True,
        ),
    )
}
