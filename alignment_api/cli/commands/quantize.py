"""`essa quantize`."""

from __future__ import annotations

import argparse
import os

from pydantic import ValidationError

from alignment_api import composition
from alignment_api.doctor.preflight import require_folder, require_home
from alignment_api.processes.ownership import check_package_owners
from alignment_api.settings import Settings
from essa.spec import ModelSpec, QuantizationSpec
from essa.spec.reading.file import problem_error
from essa.spec.reading.problem import problems_of


def run(arguments: argparse.Namespace) -> int:
    """Write a quantised checkpoint, one line for every step."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    check_package_owners()
    require_home(settings)
    require_folder(arguments.out, "--out")
    composition.quantize_model(
        ModelSpec(path=arguments.model),
        arguments.out,
        scheme=arguments.scheme,
        settings=_quantization(arguments),
        calibration=arguments.calibration,
        cache_dir=settings.cache_dir,
        is_replacing=arguments.force,
        progress=lambda line: print(line, flush=True),
    )
    return 0


def _quantization(arguments: argparse.Namespace) -> QuantizationSpec:
    """The given settings; the others keep the specification's defaults."""
    names = ("method", "keep_int8", "samples", "sequence_length")
    given = {name: getattr(arguments, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return QuantizationSpec.model_validate(given)
    except ValidationError as error:
        raise problem_error(problems_of(error.errors(), given)) from error
