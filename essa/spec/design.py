"""How `search.design` cuts candidates and prompts into groups. Pure."""

from __future__ import annotations

from essa.spec.base import SettingError
from essa.spec.search import AnnealedEsSpec, SearchSpec
from reward.spec import RewardSpec
from reward.spec.batch import BatchMetricSpec
from reward.spec.nesting import models_in

CANDIDATES_OF_A_BLOCK = 4


def groups_of(search: SearchSpec, reward: RewardSpec) -> int:
    """Equal groups that candidates and prompts are cut into, see `essa.groups`."""
    design = search.design
    if design == "auto":
        has_pairs = isinstance(search, AnnealedEsSpec) and not _has_batch_metric(reward)
        design = "pairs" if has_pairs else "shared"
    if design == "blocks":
        return max(1, search.population // CANDIDATES_OF_A_BLOCK)
    return search.population // 2 if design == "pairs" else 1


def check_design(search: SearchSpec, reward: RewardSpec, batch_size: int) -> None:
    """Refuse a design that the search, the reward or the sizes do not allow.

    Raises:
        SettingError: names the setting to change.
    """
    design, groups = search.design, groups_of(search, reward)
    if design == "pairs" and not isinstance(search, AnnealedEsSpec):
        raise SettingError(
            "search.design",
            design,
            "is for search.type annealed_es, which compares the members of a pair only; "
            f"{search.type} ranks all candidates: use shared or blocks",
        )
    if groups == 1:
        return
    if _has_batch_metric(reward):
        raise SettingError(
            "search.design",
            design,
            "gives candidates prompts of their own, and the reward has a metric of the whole "
            "batch; use shared",
        )
    for name, size in (("search.population", search.population), ("batch_size", batch_size)):
        if size % groups:
            raise SettingError(
                name,
                size,
                f"cannot be shared out evenly among the {groups} groups of candidates that "
                f"search.design {design} makes; use a multiple of {groups}",
            )


def _has_batch_metric(reward: RewardSpec) -> bool:
    return next(models_in(reward, BatchMetricSpec), None) is not None
