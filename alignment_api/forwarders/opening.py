"""From what a job asks for to what forwards it."""

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
"""Modules by type of integration; the extra that installs one has the name of the type."""
TRACKING_URI = "MLFLOW_TRACKING_URI"


def make_forwarder(spec: IntegrationSpec) -> Forwarder:
    """The forwarder of an integration; loads no library."""
    if isinstance(spec, WandbIntegrationSpec):
        return WandbForwarder(spec.wandb)
    if isinstance(spec, MlflowIntegrationSpec):
        return MlflowForwarder(spec.mlflow)
    return TensorboardForwarder()


def forwarding_sink(inner: EventSink, run: ForwardedRun) -> ForwardingSink:
    """What passes the events of a job on to `inner` and to the job's integrations."""
    return ForwardingSink(inner, [make_forwarder(one) for one in run.spec.integrations], run)


def is_installed(kind: str) -> bool:
    """Whether the library of a type of integration is there."""
    found = find_spec(LIBRARIES[kind])
    # A folder of the same name, such as W&B leaves behind, is no library.
    return found is not None and found.origin is not None


def integration_problems(
    integrations: Sequence[IntegrationSpec], environment: Mapping[str, str]
) -> list[Problem]:
    """What keeps integrations from working and can be seen before the job runs.

    Args:
        integrations: of the job.
        environment: of the service, which its job processes inherit.
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
