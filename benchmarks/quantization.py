"""What GPTQ buys over rounding to nearest.

Every scheme is written by both methods, and int4 once more with its most sensitive layers kept at
int8. Perplexities are those of plain transformers in float32 on the checkpoint as an engine would
load it, int8 activations included, on texts that were not calibrated on. All are ratios: to the
bf16 base, and to rounding to nearest, the latter with a 95 % bootstrap interval over the texts.
Output errors are those of single layers on the calibration texts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from populations import CACHE, MODEL
from report import RESAMPLES, print_json, print_table, shown_ratio
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from essa.errors import DataError, EssaError, SpecError
from essa.spec import ModelSpec, Precision, QuantizationMethod, QuantizationSpec
from workers.models.store import ModelStore
from workers.quantization.calibration import chosen_texts, read_texts, token_sequences
from workers.quantization.quantize import QuantizationReport, linear_shapes, quantize_folder
from workers.quantization.schemes import GROUP_SIZES, SCHEMES, named_scheme
from workers.weights.checkpoint import weight_bytes


class Loss(NamedTuple):
    """Negative log-likelihoods of texts, and how many tokens each of them predicts."""

    sums: np.ndarray
    tokens: np.ndarray

    def perplexity(self) -> float:
        """Of all the tokens."""
        return float(np.exp(self.sums.sum() / self.tokens.sum()))


@dataclass(frozen=True)
class Bench:
    """What every row is measured with."""

    base: Path
    calibration: list[str]
    evals: dict[str, list[list[int]]]
    settings: QuantizationSpec
    threads: int


@dataclass(frozen=True)
class Result:
    """One checkpoint."""

    seconds: float
    megabytes: float | None
    losses: dict[str, Loss]
    errors: list[float] = field(default_factory=list)
    """Output errors of the layers, each over that of rounding it to nearest."""


def main() -> None:
    """Measure every scheme that was asked for, or say what is wrong with the request."""
    arguments = _arguments()
    disable_progress_bar()
    try:
        bench = _bench(arguments)
        cases = _cases(arguments, bench.base)
        _say(f"scoring {arguments.model}")
        megabytes = 1e-6 * weight_bytes(bench.base)
        base = Result(0.0, megabytes, _losses(bench, bench.base))
        rows = []
        for scheme, keep in cases:
            rows += _measured(bench, scheme, keep, base)
    except EssaError as error:
        raise SystemExit(f"quantization.py: {error}") from error
    names = list(bench.evals)
    columns = ["scheme", "kept int8", "method", "seconds", "MB / base"]
    columns += ["layer error / rtn", "worst layer"]
    for name in names:
        columns += [f"{name} perplexity / base", f"{name} / rtn"]
    print_table(columns, [_cells(row, names) for row in rows])
    print_json(
        "quantization",
        model=arguments.model,
        calibration={
            "texts": len(chosen_texts(bench.calibration, bench.settings)),
            "sequence_length": bench.settings.sequence_length,
        },
        base={
            "megabytes": round(megabytes, 1),
            "perplexity": {name: loss.perplexity() for name, loss in base.losses.items()},
            "tokens": {name: int(loss.tokens.sum()) for name, loss in base.losses.items()},
        },
        rows=rows,
    )


def _bench(arguments: argparse.Namespace) -> Bench:
    torch.set_num_threads(arguments.threads)
    base = ModelStore(CACHE).base(ModelSpec(path=arguments.model)).folder
    settings = QuantizationSpec(
        samples=arguments.samples, sequence_length=arguments.sequence_length
    )
    calibration = read_texts(arguments.calibration, base)
    seen = set(chosen_texts(calibration, settings))
    evals = {}
    for name, file in arguments.eval:
        if name in evals:
            raise SpecError(f"--eval {name} is given twice; give each file a name of its own")
        texts = read_texts(file, base)
        if seen.intersection(texts):
            raise DataError(
                f"--eval {name}: {file} holds texts that are calibrated on; give others"
            )
        limit = settings.model_copy(update={"samples": arguments.eval_limit})
        sequences = [ids for ids in token_sequences(texts, base, limit) if len(ids) > 1]
        if not sequences:
            raise DataError(f"--eval {name}: no text of {file} has two tokens or more")
        evals[name] = sequences
    return Bench(base, calibration, evals, settings, arguments.threads)


def _cases(arguments: argparse.Namespace, base: Path) -> list[tuple[str, int]]:
    """Schemes with how many layers stay int8."""
    widths = {inputs for _, inputs in linear_shapes(base).values()}
    fitting = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
    schemes = arguments.schemes or ["int8-w8a8", *(f"int4-w4a16-g{size}" for size in fitting)]
    cases = [(scheme, 0) for scheme in schemes]
    narrow = [scheme for scheme in schemes if named_scheme(scheme).precision is Precision.INT4]
    if arguments.keep_int8 and narrow:
        cases.append((narrow[0], arguments.keep_int8))
    return cases


def _measured(bench: Bench, scheme: str, keep: int, base: Result) -> list[dict[str, Any]]:
    """Rows of one scheme: rounded to nearest, and by GPTQ."""
    nearest = _ours(bench, scheme, keep, QuantizationMethod.RTN)
    rows = []

    def add(method: str, result: Result) -> None:
        rows.append(
            {
                "scheme": scheme,
                "keep_int8": keep,
                "method": method,
                "seconds": round(result.seconds, 1),
                "megabytes_over_base": (
                    round(result.megabytes / base.megabytes, 4)
                    if result.megabytes and base.megabytes
                    else None
                ),
                "layer_error_over_rtn": _spread(result.errors),
                "perplexity": {name: loss.perplexity() for name, loss in result.losses.items()},
                "perplexity_over_base": _ratios(result, base),
                "perplexity_over_rtn": None if result is nearest else _ratios(result, nearest),
            }
        )
        # A run takes minutes: what was measured before it broke off is not lost.
        _say(json.dumps(rows[-1]))

    add(QuantizationMethod.RTN, nearest)
    add(QuantizationMethod.GPTQ, _ours(bench, scheme, keep, QuantizationMethod.GPTQ))
    return rows


def _ours(bench: Bench, scheme: str, keep: int, method: QuantizationMethod) -> Result:
    precision, group_size = named_scheme(scheme)
    changes = {"method": method, "group_size": group_size, "keep_int8": keep}
    report = QuantizationReport((), ())

    def write(folder: Path) -> float:
        nonlocal report
        started_s = time.monotonic()
        settings = bench.settings.model_copy(update=changes)
        report = quantize_folder(
            bench.base, folder, precision, _say, settings=settings, texts=bench.calibration
        )
        return time.monotonic() - started_s

    _say(f"{scheme} by {method}" + (f", {keep} layers int8" if keep else ""))
    result = _result(bench, write)
    result.errors.extend(error.gptq / error.nearest for error in report.errors if error.nearest)
    return result


def _result(bench: Bench, write: Callable[[Path], float]) -> Result:
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as name:
        folder = Path(name)
        seconds = write(folder)
        return Result(seconds, 1e-6 * weight_bytes(folder), _losses(bench, folder))


def _losses(bench: Bench, folder: Path) -> dict[str, Loss]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return {name: _loss(model, sequences) for name, sequences in bench.evals.items()}


def _loss(model: Any, sequences: list[list[int]]) -> Loss:
    sums = []
    with torch.inference_mode():
        for ids in sequences:
            tokens = torch.tensor([ids])
            scores = model(tokens, use_cache=False).logits[0, :-1].log_softmax(-1)
            sums.append(-scores.gather(1, tokens[0, 1:, None]).sum(dtype=torch.float64).item())
    return Loss(np.array(sums), np.array([len(ids) - 1 for ids in sequences]))


def _ratios(result: Result, other: Result) -> dict[str, dict[str, Any]]:
    """Of perplexities on the same texts, which are drawn anew together for the interval."""
    found = {}
    for name, loss in result.losses.items():
        gain = loss.sums - other.losses[name].sums
        count = len(gain)
        drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
        means = gain[drawn].sum(axis=1) / loss.tokens[drawn].sum(axis=1)
        low, high = np.exp(np.quantile(means, [0.025, 0.975]))
        found[name] = {
            "ratio": round(loss.perplexity() / other.losses[name].perplexity(), 4),
            "ci95": [round(float(low), 4), round(float(high), 4)],
            "texts": count,
        }
    return found


def _spread(errors: list[float]) -> dict[str, float] | None:
    if not errors:
        return None
    return {"mean": round(sum(errors) / len(errors), 4), "worst": round(max(errors), 4)}


def _cells(row: dict[str, Any], names: list[str]) -> list[Any]:
    spread, over_rtn = row["layer_error_over_rtn"], row["perplexity_over_rtn"]
    cells = [row["scheme"], row["keep_int8"], row["method"], row["seconds"]]
    cells.append(row["megabytes_over_base"] or "")
    cells += [spread["mean"], spread["worst"]] if spread else ["", ""]
    for name in names:
        cells.append(row["perplexity_over_base"][name]["ratio"])
        cells.append(shown_ratio(over_rtn[name]) if over_rtn else "")
    return cells


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    defaults = QuantizationSpec()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=MODEL, help=f"the base (default {MODEL})")
    parser.add_argument(
        "--calibration", type=Path, required=True, metavar="FILE", help="JSONL of training texts"
    )
    parser.add_argument(
        "--eval",
        type=_named_file,
        required=True,
        action="append",
        metavar="NAME=FILE",
        help="JSONL of other texts; may be given more than once",
    )
    parser.add_argument(
        "--schemes",
        type=_schemes,
        help=f"comma-separated, of {', '.join(SCHEMES)} (default: all that divide)",
    )
    parser.add_argument(
        "--keep-int8",
        type=_count,
        default=8,
        metavar="K",
        help="layers kept int8 in one more row of the first int4 scheme; 0: no row (default 8)",
    )
    parser.add_argument(
        "--samples", type=_positive, default=32, help="calibration texts (default 32)"
    )
    parser.add_argument(
        "--sequence-length",
        type=_length,
        default=defaults.sequence_length,
        help=f"tokens of a text (default {defaults.sequence_length})",
    )
    parser.add_argument(
        "--eval-limit", type=_positive, default=32, help="texts of each --eval (default 32)"
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        default=torch.get_num_threads(),
        help="threads of torch (default: one a core)",
    )
    return parser.parse_args()


def _named_file(given: str) -> tuple[str, Path]:
    name, sign, file = given.partition("=")
    if not (name and sign and file):
        raise argparse.ArgumentTypeError(f"{given!r} is not NAME=FILE")
    return name, Path(file)


def _schemes(given: str) -> list[str]:
    names = given.split(",")
    for name in names:
        if name not in SCHEMES:
            raise argparse.ArgumentTypeError(
                f"there is no scheme {name!r}; give some of {', '.join(SCHEMES)}"
            )
    return names


def _count(given: str) -> int:
    return _at_least(0, given)


def _positive(given: str) -> int:
    return _at_least(1, given)


def _length(given: str) -> int:
    return _at_least(16, given)


def _at_least(least: int, given: str) -> int:
    if not given.isdecimal() or int(given) < least:
        raise argparse.ArgumentTypeError(f"{given!r} is not a whole number from {least} on")
    return int(given)


if __name__ == "__main__":
    main()
