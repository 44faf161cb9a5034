"""MLflow; MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN set its server and credentials."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from alignment_api.forwarders.base import ForwardedRun, Forwarder, Value
from essa.spec.integrations import MlflowRunSpec

JOB_TAG = "essa.job_id"
_LONGEST_PARAM = 500
"""Longest value in characters that every MLflow version accepts; longer values are cut."""
_PARAMS_AT_ONCE = 100
_STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class MlflowForwarder(Forwarder):
    """One MLflow run, with the generation as its step and the specification as its parameters."""

    name = "mlflow"

    def __init__(self, spec: MlflowRunSpec) -> None:
        self._spec = spec
        self._client: Any = None
        self._run_id = ""

    def begin(self, run: ForwardedRun) -> None:
        """Open the run, or resume the one tagged with this job's id."""
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        self._client = MlflowClient()
        experiment = self._experiment()
        query = f"tags.`{JOB_TAG}` = '{run.id}'"
        earlier = self._client.search_runs([experiment], query, max_results=1)
        if earlier:
            self._run_id = earlier[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            return
        made = self._client.create_run(
            experiment,
            run_name=self._spec.name or run.spec.name,
            tags={**self._spec.tags, JOB_TAG: run.id},
        )
        self._run_id = made.info.run_id
        self._log_params(run.config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers."""
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now_ms = int(1000 * time.time())
        metrics = [Metric(_name(key), value, now_ms, step) for key, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, status: str, summary: Mapping[str, Value]) -> None:
        """Add the summary, numbers as metrics and words as tags, and close the run."""
        numbers = {key: float(value) for key, value in summary.items() if not _is_text(value)}
        if numbers:
            self.log(int(numbers.get("selected_generation", 0)), numbers)
        for key, value in {**summary, "status": status}.items():
            if _is_text(value):
                self._client.set_tag(self._run_id, f"essa.{key}", value)
        # A job that may resume is not over.
        self._client.set_terminated(self._run_id, _STATUS.get(status, "SCHEDULED"))

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._spec.experiment)
        if found is not None:
            return found.experiment_id
        return self._client.create_experiment(self._spec.experiment)

    def _log_params(self, config: Mapping[str, object]) -> None:
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        params = [
            Param(_name(key), text[:_LONGEST_PARAM]) for key, text in _flattened("", config) if text
        ]
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(self._run_id, params=params[start : start + _PARAMS_AT_ONCE])


def _flattened(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flattened(f"{prefix}.{key}" if prefix else str(key), part)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def _is_text(value: Value) -> bool:
    return isinstance(value, str)


def _name(key: str) -> str:
    """Replace what MLflow does not accept in names: all but letters, digits and `_-. :/`."""
    signs = {">=": "ge", "<=": "le", "=": "eq"}
    words = (signs.get(word, word) for word in key.split(" "))
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in " ".join(words))
