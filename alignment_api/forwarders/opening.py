"""Make the forwarders for the integrations that a job asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from alignment_api.forwarders.base import ForwardedRun, Forwarder
from alignment_api.forwarders.mlflow_run import MlflowForwarder
from alignment_api.forwarders.sink import ForwardingSink
from alignment_api.forwarders.tensorboard_run import TensorboardForwarder
from alignment_api.forwarders.wandb_run import WandbForwarder
from essa.ports import EventSink
from essa.spec.integrations import IntegrationSpec, MlflowIntegrationSpec, WandbIntegrationSpec
from essa.spec.reading.problem import Problem

LIBRARIES = {"wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboardX"}
"""Module by type of integration; the extra that installs it is named after the type."""
TRACKING_URI = "MLFLOW_TRACKING_URI"


def make_forwarder(spec: IntegrationSpec) -> Forwarder:
    """Make the forwarder of an integration, without loading its library."""
    if isinstance(spec, WandbIntegrationSpec):
        return WandbForwarder(spec.wandb)
    if isinstance(spec, MlflowIntegrationSpec):
        return MlflowForwarder(spec.mlflow)
    return TensorboardForwarder()


def forwarding_sink(inner: EventSink, run: ForwardedRun) -> ForwardingSink:
    """Make a sink that passes a job's events on to `inner` and to the job's integrations."""
    return ForwardingSink(inner, [make_forwarder(one) for one in run.spec.integrations], run)


def is_installed(kind: str) -> bool:
    """Return whether the library of a type of integration is installed."""
    found = find_spec(LIBRARIES[kind])
    # A folder of the same name, such as W&B leaves behind, is not a library.
    return found is not None and found.origin is not None


def integration_problems(
    integrations: Sequence[IntegrationSpec], environment: Mapping[str, str]
) -> list[Problem]:
    """Find what would keep integrations from working, as far as it shows before the job runs.

    Args:
        integrations: the job's integrations.
        environment: the service's environment, which its job processes inherit.
    """
    problems = []
    for number, one in enumerate(integrations):
        field = f"integrations.{number}.type"
        if not is_installed(one.type):
            fix = (
                f"its library {LIBRARIES[one.type]} is not installed: pip install "
                f"'essa-service[{one.type}]'"
            )
            problems.append(Problem(field, one.type, fix))
        elif one.type == "mlflow" and not environment.get(TRACKING_URI):
            fix = (
                f"{TRACKING_URI} is not set for the service; it names the server, or sqlite:///FILE"
            )
            problems.append(Problem(field, one.type, fix))
    return problems
