"""Write results in the formats of other programs, as pure functions from a result to bytes."""

from exports.formats import FORMATS, Format, export, find_format

__all__ = ["FORMATS", "Format", "export", "find_format"]
