"""The OpenAPI document, with FastAPI's own additions corrected."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_UNUSED = ("HTTPValidationError", "ValidationError")
_KEY = "apiKey"


def install_openapi(app: FastAPI) -> None:
    """Make `app` serve the document of this module."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = corrected(plain())
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def corrected(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove status 422, which is never answered, and add the key that `/v1` requires."""
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            for status, answer in operation["responses"].items():
                if status >= "4" and answer.get("content"):
                    # FastAPI gives errors the media type of the endpoint's success.
                    answer["content"] = {"application/json": next(iter(answer["content"].values()))}
            if path.startswith("/v1/"):
                operation["security"] = [{_KEY: []}]
    components = schema.setdefault("components", {})
    for name in _UNUSED:
        components.get("schemas", {}).pop(name, None)
    components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    return schema
