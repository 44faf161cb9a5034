"""Draws rows of IFEval's form from requests and instruction types. Deterministic."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from arguments import REPEAT_PROMPT, SHARES, Instruction, draw_instruction
from conflict import PARTNERS, are_compatible, can_be_followed, fits_request
from wording import Wordings, ask_to_repeat, write_prompt

YES_OR_NO = "detectable_format:constrained_response"
NO_COMMA = "punctuation:no_comma"
# How many of IFEval's 541 prompts have one, two and three instructions.
SIZES = {1: 305, 2: 179, 3: 57}
TRIES = 500


class GenerationError(Exception):
    """There are too few requests for as many different prompts."""


@dataclass(eq=False)
class Request:
    """Something to ask for.

    Attributes:
        ask: the sentence.
        words: keywords that an answer may well hold; none for a question.
        short: the answer is a line or two.
        uses: rows drawn from it so far.
    """

    ask: str
    words: list[str] = field(default_factory=list)
    short: bool = False
    uses: int = 0


def draw_rows(
    count: int, requests: list[Request], wordings: Wordings, rng: random.Random
) -> list[dict[str, Any]]:
    """Draw `count` rows whose instruction types are spread as in IFEval.

    Requests without words are yes-or-no questions; they and only they go with `YES_OR_NO`. All
    requests are used about equally often.

    Returns:
        Rows of `prompt`, `instruction_id_list`, `kwargs` and `request`, in random order.
    Raises:
        GenerationError: no new prompt was found for a row.
    """
    sizes = apportion(count, SIZES)
    left = apportion(sum(size * rows for size, rows in sizes.items()), SHARES)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    # Rows of three first: later rows have fewer types to choose from.
    for size in sorted(sizes, reverse=True):
        for _ in range(sizes[size]):
            kinds = draw_kinds(size, left, rng)
            row = _draw_new_row(kinds, requests, wordings, rng, seen)
            seen.add(row["prompt"])
            rows.append(row)
    rng.shuffle(rows)
    return rows


def apportion(total: int, shares: dict[Any, int]) -> dict[Any, int]:
    """Cut `total` into whole numbers in proportion to `shares`, by largest remainder."""
    whole = sum(shares.values())
    parts = {key: total * share // whole for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: -(total * shares[key] % whole))
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def draw_kinds(size: int, left: dict[str, int], rng: random.Random) -> list[str]:
    """Draw compatible types, each as likely as rows are left for it, and count them off `left`.

    Where fewer than `size` go together, fewer are returned, but always one.
    """
    kinds: list[str] = []
    while len(kinds) < size:
        open_kinds = [
            kind
            for kind, rows in left.items()
            if rows
            and all(are_compatible(kind, other) for other in kinds)
            # A type without partners would end the row here.
            and (size == 1 or PARTNERS.get(kind, SHARES))
        ]
        if not open_kinds and kinds:
            break
        weights = [left[kind] for kind in open_kinds]
        kind = rng.choices(open_kinds, weights)[0] if open_kinds else NO_COMMA
        left[kind] = max(0, left[kind] - 1)
        kinds.append(kind)
    return kinds


def _draw_new_row(
    kinds: list[str],
    requests: list[Request],
    wordings: Wordings,
    rng: random.Random,
    seen: set[str],
) -> dict[str, Any]:
    """A row of these types whose prompt is not in `seen`, on one of the least used requests."""
    pool = [request for request in requests if bool(request.words) != (YES_OR_NO in kinds)]
    rng.shuffle(pool)
    pool.sort(key=lambda request: request.uses)
    for attempt in range(TRIES):
        if not pool:
            break
        request = pool[attempt % len(pool)]
        row = _draw_row(kinds, request, wordings, rng)
        if row is not None and row["prompt"] not in seen:
            request.uses += 1
            return row
    raise GenerationError(
        f"found no new prompt with {', '.join(kinds)} on {len(pool)} requests after {len(seen)} "
        "rows; ask for fewer rows, or add requests or questions to base_requests.yaml"
    )


def _draw_row(
    kinds: list[str], request: Request, wordings: Wordings, rng: random.Random
) -> dict[str, Any] | None:
    """Draw arguments and words; None where they contradict each other or the request."""
    words = list(request.words)
    plain = [draw_instruction(kind, words, rng) for kind in kinds if kind != REPEAT_PROMPT]
    if not can_be_followed(plain) or not fits_request(plain, is_short=request.short):
        return None
    prompt = write_prompt(request.ask, plain, wordings, rng) if plain else request.ask
    instructions = plain
    if REPEAT_PROMPT in kinds:
        if NO_COMMA in kinds and "," in prompt:
            return None
        instructions = [*plain, Instruction(REPEAT_PROMPT, {"prompt_to_repeat": prompt})]
        prompt = ask_to_repeat(prompt, wordings, rng)
    return {
        "prompt": prompt,
        "instruction_id_list": [each.id for each in instructions],
        "kwargs": [each.arguments for each in instructions],
        "request": request.ask,
    }
