"""Flags that several commands take. Imported for every help text, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

DEFAULT_SERVER = "http://127.0.0.1:8400"

JobFile = Annotated[Path, Parameter(help="The job, YAML or JSON.")]
JobId = Annotated[str, Parameter(help="A job of the service.")]
Overrides = Annotated[
    Sequence[str],
    Parameter(
        "--set",
        metavar="NAME=VALUE",
        help="Override a setting, such as search.sigma_init=0.05; can be repeated.",
    ),
]
Home = Annotated[Path | None, Parameter(help="The service's folder (default: ~/.essa).")]
Server = Annotated[str, Parameter(env_var="ESSA_URL", help="Address of the service.")]
Key = Annotated[str | None, Parameter(env_var="ESSA_API_KEY", help="API key.")]
Priority = Annotated[int | None, Parameter(help="Higher ones start first (default: 0).")]
