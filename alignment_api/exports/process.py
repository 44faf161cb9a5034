"""The process of one slow export: `python -m alignment_api.exports.process RUN_DIR ARCHIVE ...`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alignment_api.exports.archive import make_archive
from alignment_api.processes.lifetime import die_with_parent, unwind_on_terminate
from alignment_api.processes.ownership import check_package_owners
from essa.errors import EssaError
from essa.spec.export import ExportSpec
from essa.storage.atomic_file import write_file

logger = logging.getLogger(__name__)

INTERNAL_ERROR = "internal_error"
_NICENESS = 10
"""Niceness of the process, so that running jobs take precedence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make one archive.

    Returns:
        0 if the archive is in its place; 1 with the reason in the file of `--failure`.
    """
    parser = argparse.ArgumentParser(prog="alignment_api.exports.process", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--spec", required=True, help="ExportSpec as JSON")
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--failure", type=Path, required=True)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # Unwinding deletes half-written files.
    unwind_on_terminate()
    if arguments.parent is not None:
        die_with_parent(arguments.parent)
    os.nice(_NICENESS)
    try:
        check_package_owners()
        make_archive(
            arguments.run_dir,
            ExportSpec.model_validate_json(arguments.spec),
            arguments.archive,
            cache_dir=arguments.cache_dir,
            progress=logger.info,
        )
    except EssaError as error:
        return _failed(arguments.failure, error.code, error.message)
    except OSError as error:
        return _failed(arguments.failure, "disk_error", f"the disk refused the export: {error}")
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return _failed(arguments.failure, INTERNAL_ERROR, reason)
    return os.EX_OK


def _failed(path: Path, code: str, message: str) -> int:
    logger.exception("the export failed")
    write_file(path, json.dumps({"code": code, "message": message}).encode())
    return 1


if __name__ == "__main__":
    sys.exit(main())
