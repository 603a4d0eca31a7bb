"""The server's log: one JSON object per line, without what clients ask about.

A request's line has the method, the route as a template, status, time and bytes. It has no
address, path or query, since it is private who asks about which work.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

LOG = logging.getLogger("alithis.serve")


def log(event: str, **values: Any) -> None:
    """Write an event to the log."""
    LOG.info(event, extra={"values": values})


def error_fields(error: Exception) -> dict[str, str]:
    """Describe an error without its message, which can contain what was asked about."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "at": " ".join(places)}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record: an event of the server, or a message of a library."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = getattr(record, "values", None)
        if values is not None:
            return json.dumps({"time": time, "event": record.getMessage(), **values})
        origin = {"level": record.levelname.lower(), "from": record.name}
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            fields = error_fields(record.exc_info[1])
            return json.dumps({"time": time, "event": "fault", **origin, **fields})
        return json.dumps({"time": time, "event": "note", **origin, "text": record.getMessage()})
