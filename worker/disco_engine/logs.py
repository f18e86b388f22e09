"""What logs look like on standard error: JSON of every long-running process, text of commands."""

import json
import logging
import sys
import time
from typing import Any

# What every LogRecord has; everything else was passed as `extra` and belongs in the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Format a record as its constant sentence plus its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON; values that JSON cannot say become their ``str``."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update(_fields(record))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Format a record as its sentence, then its fields: "damaged copy: blob a.txt, error …"."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return one line of text, if no field has more."""
        fields = ", ".join(f"{key} {value}" for key, value in _fields(record).items())
        return f"{record.message}: {fields}" if fields else record.message


def configure(level: str = "INFO") -> None:
    """Send the process's logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _OWN}
