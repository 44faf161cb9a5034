"""The machine's number formats, each checked with one small matrix product."""

from __future__ import annotations

from collections.abc import Iterator

from alignment_api.composition import machine_formats
from alignment_api.doctor.finding import Finding, failure, ok
from essa.errors import EngineStartError
from essa.number_format import FormatStatus, MachineFormats


def check_formats(found: list[MachineFormats]) -> Iterator[Finding]:
    """Check which formats are fast, emulated or impossible here, and which of them jobs use.

    Args:
        found: output list; receives what was measured.
    """
    try:
        formats = machine_formats(None)
    except EngineStartError as error:
        yield failure("number formats", error.message, "run `make install`")
        return
    found.append(formats)
    taken = formats.fastest()
    parts = [_of_status(formats, status) for status in FormatStatus]
    parts.append(f"engine.precision auto takes {taken}, {formats.activations(taken)} activations")
    yield ok("number formats", "; ".join(filter(None, parts)))


def _of_status(formats: MachineFormats, status: FormatStatus) -> str:
    names = [
        one.format if one.gflops is None else f"{one.format} {one.gflops:.0f} GFLOP/s"
        for one in formats.formats
        if one.status is status
    ]
    return f"{status}: {', '.join(names)}" if names else ""
