"""The model card of an export: description, scores, provenance and serving.

All its content comes from the run's records; neither torch nor the model is needed.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from essa.parametrize.adapter import CONFIG_FILE
from essa.parametrize.adapter_config import largest_rank
from essa.parametrize.basis import BASIS_FILE
from essa.parametrize.spectrum import read_spectrum
from essa.records.folder import ADAPTER_FOLDER
from essa.spec import Precision
from essa.spec.export import ExportFormat, ExportSpec
from workers.export.card_tables import (
    cell,
    constraint_table,
    data_table,
    interval,
    number,
    score_table,
    version_table,
)
from workers.export.provenance import BaseRecord, Provenance
from workers.export.source import RunSource
from workers.export.usage import python_code, serve_command, served_base

_KINDS = {
    ExportFormat.ADAPTER: "A LoRA adapter for {base}",
    ExportFormat.MERGED: "{base} with a LoRA adapter merged into its weights",
    ExportFormat.QUANTIZED: "{base} rounded to {precision}, with a LoRA adapter beside it",
}
_NO_INT8_ON_CPU = (
    "On a CPU, vLLM 0.32 does not start with LoRA on an INT8 base: take the INT4 base or the "
    "merged model there."
)
_RELATIONS = {
    ExportFormat.ADAPTER: "adapter",
    ExportFormat.MERGED: "finetune",
    ExportFormat.QUANTIZED: "quantized",
}


def model_card(source: RunSource, spec: ExportSpec) -> str:
    """Return the card: Markdown with YAML front matter in the format of the Hugging Face hub.

    Args:
        source: the run.
        spec: the export that the card describes.
    Raises:
        JobConflictError: the run has not yet written what the export needs.
        SpecError: the run has no such generation.
        CheckpointCorruptError: the run's folder is damaged.
    """
    source.require(spec.checkpoint)
    provenance = source.provenance
    front = yaml.safe_dump(_front_matter(provenance, spec), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{front}---",
        f"# {cell(provenance.job.name)}",
        _summary(provenance, spec),
        _usage(source, spec),
        _scores(source, spec),
        _selection(source, spec),
        f"## Data\n\n{data_table(provenance)}",
        f"## Base and licence\n\n{_base(provenance)}",
        f"## Specification\n\nSeed {provenance.job.seed}; every field, defaults included.\n\n"
        + _fenced("yaml", yaml.safe_dump(provenance.spec, sort_keys=False, allow_unicode=True)),
        f"## Versions\n\n{version_table(provenance)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(provenance: Provenance, spec: ExportSpec) -> dict[str, Any]:
    base = provenance.base
    is_merged = spec.format is ExportFormat.MERGED
    front: dict[str, Any] = {
        "base_model": base.name,
        "base_model_relation": _RELATIONS[spec.format],
        "library_name": "transformers" if is_merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["essa", *provenance.job.method.tags, "lora"],
    }
    if base.licence:
        front["license"] = base.licence
    if base.licence_link:
        front["license_link"] = base.licence_link
    return front


def _summary(provenance: Provenance, spec: ExportSpec) -> str:
    kind = _KINDS[spec.format].format(base=cell(provenance.base.name), precision=spec.precision)
    job = provenance.job
    return f"{kind}. Made by ESSA Service {job.method.made_how(job)}"


def _usage(source: RunSource, spec: ExportSpec) -> str:
    provenance = source.provenance
    where = "In the folder of this file:"
    base = served_base(provenance)[0]
    if spec.format is ExportFormat.ADAPTER and base != provenance.base.name:
        where = (
            f"In the folder of this file. `{base}` is the base on the machine of the run; name its "
            "place on yours:"
        )
    return (
        f"## Use\n\n{where}\n\n"
        + _fenced("sh", serve_command(provenance, spec, _rank(source)))
        + "\n\n"
        + _fenced("python", python_code(provenance, spec))
        + (f"\n\n{_NO_INT8_ON_CPU}" if spec.precision is Precision.INT8 else "")
    )


def _scores(source: RunSource, spec: ExportSpec) -> str:
    result, provenance = source.result, source.provenance
    if result is None:
        return "## Scores\n\nThe run has not ended: its test set was not scored."
    searched = str(provenance.searched.precision)
    parts = [
        "## Scores",
        "Mean reward on the test set, which was scored once at the end and decided nothing, with "
        "95 % bootstrap intervals over prompts. A difference smaller than the interval is none.",
        score_table(result, searched),
    ]
    if spec.checkpoint not in (None, result.selected_generation):
        parts.append(
            f"`aligned` is generation {result.selected_generation}; this export is generation "
            f"{spec.checkpoint}, which was not scored on the test set."
        )
    parts.extend(_unscored(provenance, spec, result.serving is not None))
    constraints = constraint_table(result, searched)
    if constraints is not None:
        parts += ["Constraints on the test set:", constraints]
    return "\n\n".join(parts)


def _unscored(provenance: Provenance, spec: ExportSpec, has_serving: bool) -> list[str]:
    """Return remarks on how the exported weights differ from the scored ones."""
    scored = {provenance.searched.precision}
    if has_serving:
        scored.add(provenance.served.precision)
    if spec.format is ExportFormat.QUANTIZED and spec.precision not in scored:
        return [f"The {spec.precision} base of this export was not scored."]
    if spec.format is ExportFormat.MERGED and spec.precision is None:
        return [
            "Scores are of base and adapter apart. Merged weights are rounded once more to the "
            "number format of the base, so answers may differ where two tokens are almost equally "
            "likely."
        ]
    return []


def _selection(source: RunSource, spec: ExportSpec) -> str:
    result = source.result
    if result is None:
        return f"## Selection\n\nThe mean vector of generation {spec.checkpoint}."
    job = source.provenance.job
    chosen, remark = "Nothing was searched or trained, and nothing selected.", "."
    if job.method.completions(job):
        remark = ": the best of several, so it is optimistic."
        chosen = (
            f"The job selected generation {result.selected_generation} of {result.generations} by "
            f"its validation score; it stopped: {cell(result.stop_reason)}."
        )
    lines = [chosen, f"It used {result.tokens:,} tokens in {result.seconds:,.0f} s."]
    if result.validation is not None:
        found = result.validation
        lines.append(
            f"Validation score {number(found.mean)} ({interval(found.ci95)}) on {found.prompts} "
            f"prompts{remark}"
        )
    return "## Selection\n\n" + "\n".join(lines)


def _base(provenance: Provenance) -> str:
    base = provenance.base
    ran_on = provenance.job.method.ran_on(provenance.searched.precision)
    revision = f", revision {cell(base.revision)}" if base.revision else ""
    return (
        f"{cell(base.name)}{revision}, SHA-256 of weights, configuration and tokenizer "
        f"`{base.digest}`. {ran_on}; the adapter is meant "
        f"for {provenance.served.precision}.\n\n{_licence(base)}"
    )


def _licence(base: BaseRecord) -> str:
    reminder = (
        "What is made from a base is bound by the base's licence: read it before you pass this on."
    )
    files = ", ".join(f"`{cell(name)}`" for name in base.licence_files)
    if base.licence is None and not files:
        return f"The base's files name no licence. {reminder}"
    named = f"`{cell(base.licence)}`" if base.licence else "not named"
    where = f" (texts in the base: {files})" if files else ""
    link = f" {cell(base.licence_link)}" if base.licence_link else ""
    return f"Licence of the base: {named}{where}.{link} {reminder}"


def _rank(source: RunSource) -> int:
    path = source.run_dir / ADAPTER_FOLDER / CONFIG_FILE
    if not path.is_file():
        return read_spectrum(source.run_dir / BASIS_FILE).rank
    return largest_rank(json.loads(path.read_text(encoding="utf-8")))


def _fenced(language: str, text: str) -> str:
    """Return a code block whose fence cannot occur in the content."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
