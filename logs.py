"""Log one line per event to standard error, as text or JSON, safe against forged lines.

Text from a request may hold line breaks and control characters. They could add false lines to the
log, or send commands to a terminal. They are escaped here in the messages of all loggers.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

from settings import Settings, unknown_variables

log = logging.getLogger("carseg.logs")

_LONGEST = 4000  # characters of one message; ours are far shorter
# Controls (C0, DEL, C1), lone surrogates, and Unicode characters that break or reorder lines.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    r"""Return the text in one line, with long texts cut.

    Unsafe characters are escaped, such as `\x1b` or `\u2028`.
    """
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text)} characters)"
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Lines(logging.Formatter):
    """The base of both formatters, which splits an event into its pieces."""

    def pieces(self, record: logging.LogRecord) -> tuple[str, dict[str, Any], list[str]]:
        """Return the message in one line, the fields, and the lines of a traceback."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        lines = []
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        if record.stack_info:
            lines += self.formatStack(record.stack_info).splitlines()
        return escaped(record.getMessage()), fields, [escaped(line) for line in lines]


class TextLines(_Lines):
    """Formatter for people: time, level, logger, message, fields as `name=value`.

    The lines of a traceback are indented, so that no text in it can pass for another event.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line, followed by the lines of a traceback."""
        message, fields, trace = self.pieces(record)
        words = [self.formatTime(record), record.levelname, f"{record.name}:", message]
        words += [f"{name}={_value(value)}" for name, value in fields.items()]
        return "\n    ".join([" ".join(words), *trace])


class JsonLines(_Lines):
    """Formatter for programs: one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as one line of ASCII."""
        message, fields, trace = self.pieces(record)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **fields,
        }
        if trace:
            event["traceback"] = trace
        return json.dumps(event)


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return json.dumps(text) if re.search(r'[\s"=]', text) or not text else escaped(text)


def configure_log(settings: Settings) -> None:
    """Log to standard error, in the format and from the level of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a short queue is normal
    logging.getLogger("flask-limiter").setLevel(logging.WARNING)  # one line per refusal fills disks
    for variable, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else ""
        log.warning("%s is set, but there is no such setting%s", variable, hint)
