"""Contents of a comparison's report, in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, cast

from essa.comparison.differences import differences
from essa.comparison.report.blocks import Block, Code, Table, Text
from essa.comparison.report.figures import all_figures
from essa.comparison.report.html import to_html
from essa.comparison.report.markdown import to_markdown
from essa.comparison.report.tables import all_tables, target_by_seed, target_table
from essa.comparison.spec import ComparisonSpec, after_warm_start, planned_runs
from essa.comparison.summary import Summary
from essa.spec.job import AlignmentJobSpec
from essa.spec.reading.file import validate_job
from essa.types import is_dict


@dataclass(frozen=True)
class Surroundings:
    """Provenance of a report's numbers.

    Attributes:
        command: command line that reproduces the report.
        versions: package versions, by the runs that used them; one entry if all used the same.
        data: digest of each data set's file, by set.
        notes: sentences about the runs, such as failures.
        extra: further tables with one row per arm, such as drift on other tasks.
    """

    command: str
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Sequence[str] = ()
    extra: Sequence[Table] = ()


def report_blocks(
    spec: ComparisonSpec, summary: Summary, surroundings: Surroundings
) -> list[Block]:
    """Return the parts of a report."""
    first = [target_table(summary), target_by_seed(summary)]
    others = [table for table in all_tables(summary) if table not in first]
    return [
        Text("What is compared", _introduction(spec, summary, surroundings)),
        *(table for table in first if table.rows),
        *all_figures(summary),
        *others,
        *surroundings.extra,
        *_specifications(spec),
        *_provenance(surroundings),
    ]


def html_report(spec: ComparisonSpec, summary: Summary, surroundings: Surroundings) -> str:
    """Return the report as one HTML file."""
    blocks = report_blocks(spec, summary, surroundings)
    return to_html(_title(spec), blocks, surroundings.command)


def markdown_report(spec: ComparisonSpec, summary: Summary, surroundings: Surroundings) -> str:
    """Return the report in Markdown."""
    blocks = report_blocks(spec, summary, surroundings)
    return to_markdown(_title(spec), blocks, surroundings.command)


def _title(spec: ComparisonSpec) -> str:
    return f"Comparison: {spec.name}"


def _introduction(
    spec: ComparisonSpec, summary: Summary, surroundings: Surroundings
) -> tuple[str, ...]:
    ended = sum(run.result is not None for run in summary.runs)
    target = (
        f"the best validation score of {spec.reference} with the same seed"
        if spec.target is None
        else f"a validation score of {spec.target:g}"
    )
    return (
        f"{', '.join(spec.arms)} on one task: the same model, data, reward and, for every seed, "
        f"the same warm start. Seeds: {', '.join(map(str, spec.seeds))}. {ended} of "
        f"{len(spec.arms) * len(spec.seeds)} runs have ended.",
        f"The target is {target}. Everything a job does is counted, model load included; the warm "
        "start, which is shared, is taken out and shown apart. A blank is not known.",
        *surroundings.notes,
    )


def _specifications(spec: ComparisonSpec) -> list[Block]:
    shared = _without_identity(after_warm_start(validate_job(spec.job)))
    arms = {run.arm: run.spec for run in planned_runs(spec) if run.seed == spec.seeds[0]}
    rows: list[tuple[str, ...]] = []
    for arm, changed in arms.items():
        found = differences(shared, _without_identity(changed))
        rows += [(arm, name, before, after) for name, (before, after) in found.items()]
        if not found:
            rows.append((arm, "nothing", "", ""))
    return [
        Table(
            "What each arm has different",
            ("arm", "setting", "shared job", "this arm"),
            tuple(rows),
            "Resolved, defaults included; a blank is a setting that this variant does not have.",
        ),
        Code("The shared job, resolved", json.dumps(_without_folders(shared), indent=1)),
    ]


def _provenance(surroundings: Surroundings) -> list[Block]:
    blocks: list[Block] = []
    if surroundings.data:
        rows = tuple((name, digest) for name, digest in surroundings.data.items())
        blocks.append(Table("Data", ("file", "SHA-256"), rows))
    if surroundings.versions:
        rows = tuple((name, found) for name, found in surroundings.versions.items())
        blocks.append(Table("Versions", ("package", "version"), rows))
    return blocks


def _without_identity(spec: AlignmentJobSpec) -> dict[str, Any]:
    """Return the settings by which arms may differ: all but name and seed."""
    return spec.model_dump(mode="json", exclude={"name", "seed"})


def _without_folders(value: Any) -> Any:
    """Reduce paths to file names: folders mean nothing to a reader, and the report has digests."""
    if isinstance(value, list):
        return [_without_folders(one) for one in cast("list[Any]", value)]
    if not is_dict(value):
        return value
    shown = {name: _without_folders(one) for name, one in value.items()}
    path = shown.get("path")
    if isinstance(path, str) and PurePath(path).is_absolute():
        shown["path"] = PurePath(path).name
    return shown
