"""The log: JSON or text, with the ids of requests and jobs, and without secrets."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from alignment_api.observability.context import ContextFilter
from alignment_api.observability.redaction import Redactor, secrets_of
from alignment_api.settings import Settings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_IDS = ("request_id", "job_id")
# uvicorn's copy of its message with colour codes.
_LEFT_OUT = (*RESERVED_ATTRS, "color_message")


def configure_logging(
    settings: Settings,
    *,
    job_id: str | None = None,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send all logging of this process to one stream, in one format.

    uvicorn's loggers keep no handlers of their own: start it with `log_config=None`. Its line per
    request is left out, because `requests.RequestLog` writes one.

    Args:
        settings: format and level.
        job_id: id for all lines of a process that works on a single job.
        stream: output stream; standard error by default.
        environment: variables to read the secrets from that must be hidden.
    """
    stream = stream or sys.stderr
    # Python has no standard error if it was closed before Python started.
    is_terminal = stream is not None and stream.isatty()
    is_json = (settings.log_format or ("text" if is_terminal else "json")) == "json"
    secrets = [*settings.reward_secrets.values(), *secrets_of(environment)]
    handler = logging.StreamHandler(stream)
    handler.addFilter(ContextFilter(job_id))
    handler.setFormatter(_Clean(_json() if is_json else _Text(_TEXT), Redactor(secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(True)
    access = logging.getLogger("uvicorn.access")
    access.handlers[:] = []
    access.propagate = False


def _json() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        reserved_attrs=list(_LEFT_OUT),
        timestamp="time",
    )


class _Text(logging.Formatter):
    """One line for people, with the ids at its end."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line without a traceback."""
        found = [f"{name}={getattr(record, name)}" for name in _IDS if hasattr(record, name)]
        return " ".join([super().formatMessage(record), *found])


class _Clean(logging.Formatter):
    """Wraps a formatter and removes secrets from its output: message, values and traceback."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Format a record without secrets."""
        return self._redactor.clean(self._inner.format(record))
