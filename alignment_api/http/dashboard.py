"""The dashboard: static files and the page that starts it."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parents[1] / "static"

CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No DOM sink accepts a string, so model output cannot become HTML even by mistake.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Revalidated each time, with a 304 if unchanged: after an update, no module of the earlier
    # version stays in use.
    "Cache-Control": "no-cache",
}


class _Static(StaticFiles):
    """The dashboard's files, with its security headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file at a path below the folder."""
        answer = await super().get_response(path, scope)
        answer.headers.update(HEADERS)
        return answer


def add_pages(app: FastAPI) -> None:
    """Serve the dashboard at `/` and its files under `/static`."""
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/static", _Static(directory=STATIC), name="static")


def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=HEADERS)
