"""One request and its answer, as the log and the metrics see it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Message, Scope

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


@dataclass
class Exchange:
    """One request and its outcome."""

    scope: Scope
    started_s: float = field(default_factory=time.perf_counter)
    status: int | None = None
    answered_s: float | None = None
    """Time at which the answer began."""
    is_stream: bool = False
    """Whether the answer is an event stream."""

    @property
    def route(self) -> str:
        """Template of the route, which keeps the number of label values bounded."""
        return getattr(self.scope.get("route"), "path", None) or "unmatched"

    @property
    def method(self) -> str:
        """HTTP method, or `OTHER`, because a client may send any word."""
        method = self.scope["method"]
        return method if method in _METHODS else "OTHER"

    def begin(self, message: Message) -> None:
        """Note the start of the answer."""
        self.status = message["status"]
        self.answered_s = time.perf_counter()
        kind = Headers(raw=message["headers"]).get("content-type", "")
        self.is_stream = kind.startswith("text/event-stream")
