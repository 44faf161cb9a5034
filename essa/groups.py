"""Which candidates of a generation answer which prompts. Pure.

Candidates are cut into equally large groups of neighbours, and so is the batch; the candidates of a
group answer its part of the batch and nothing else. One group is a batch that all share; a group
for every antithetic pair gives each pair prompts of its own.
"""

from __future__ import annotations

from essa.errors import SpecError


def check_groups(groups: int, candidates: int, prompts: int) -> None:
    """Refuse what cannot be cut into equal parts; one group takes anything.

    Raises:
        SpecError: `groups` does not divide the candidates or the prompts.
    """
    for what, field, size in (
        ("candidates", "search.population", candidates),
        ("prompts", "batch_size", prompts),
    ):
        if groups > 1 and (size % groups or size < groups):
            raise SpecError(
                f"{size} {what} cannot be shared out evenly among {groups} groups; set {field} to "
                f"a multiple of {groups}",
                field=field,
            )


def first_prompt(candidate: int, candidates: int, groups: int, per_candidate: int) -> int:
    """Position in the batch of the first prompt of a candidate."""
    return candidate * groups // candidates * per_candidate
