"""What is searched, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from essa.spec.base import SettingError, SpecModel
from reward.spec import RewardSpec
from reward.spec.batch import BatchMetricSpec
from reward.spec.nesting import models_in

Sigma = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Target = Literal["factors", "product", "weights"]


class LadderSpec(SpecModel):
    """The probe behind `sigma_init: auto`."""

    sigmas: tuple[Sigma, ...] | None = Field(default=None, min_length=1)
    """Step sizes to try, ascending. None takes the target's own ladder."""
    candidates: int = Field(default=12, ge=4)
    """Candidates per rung."""
    prompts: int | None = Field(default=None, ge=4)
    """Training prompts per rung, the same for all its candidates. None takes `batch_size`, or 32
    where candidates have prompts of their own."""

    @field_validator("sigmas")
    @classmethod
    def _ascending(cls, sigmas: tuple[float, ...] | None) -> tuple[float, ...] | None:
        rising = sorted(set(sigmas or ()))
        if sigmas is not None and list(sigmas) != rising:
            raise ValueError(f"step sizes must rise from one to the next; write {rising}")
        return sigmas


class SearchSpecModel(SpecModel):
    """What every search has."""

    population: int = Field(default=16, ge=2)
    """Candidates per generation (lambda)."""
    target: Target = "factors"
    """`factors`: singular values of A and of B, the paper's choice. `product`: of B @ A.
    `weights`: every weight of A and B, a control that shows what the small space is worth;
    candidates are then evaluated one after the other, and `alpha` is not read."""
    alpha: float = Field(default=1.0, gt=0, le=1)
    """Search the top floor(alpha * rank) singular values of each factor."""
    sigma_init: Literal["auto"] | Sigma = "auto"
    """Initial step size, in units of each factor's mean singular value, or with target `weights`
    of its root mean square weight. `auto` probes a ladder."""
    ladder: LadderSpec = LadderSpec()
    design: Literal["auto", "shared", "blocks", "pairs"] = "auto"
    """Which prompts of a generation a candidate answers. `shared`: all of them, as all candidates.
    `blocks`: a part of them, which it shares with three others; how hard that part is, is taken
    out. `pairs`: a part that only its antithetic partner has too, for `annealed_es`. `auto` takes
    `pairs` there and `shared` elsewhere, and `shared` where the reward has a metric of a batch."""


class _CmaSpec(SearchSpecModel):
    population: int = Field(default=16, ge=3)
    """Candidates per generation (lambda)."""
    learning_rate_mean: float = Field(default=1.0, gt=0, le=1)
    """Share of the way to the weighted mean of the best that the mean goes (c_m). Where fitness is
    mostly noise, under 1: the way's random part adds up with its square."""
    sigma_min: float = Field(default=1e-3, ge=0)
    """Floor of the step size."""


class SepCmaEsSpec(_CmaSpec):
    """Separable CMA-ES (Ros & Hansen 2008), on pycma."""

    type: Literal["sep_cma_es"] = "sep_cma_es"


class CmaEsSpec(_CmaSpec):
    """CMA-ES with a full covariance matrix (Hansen & Ostermeier 2001), on pycma."""

    type: Literal["cma_es"] = "cma_es"


class OpenAiEsSpec(SearchSpecModel):
    """Antithetic evolution strategy with centred ranks (Salimans et al. 2017)."""

    type: Literal["openai_es"] = "openai_es"
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=0.2, gt=0)
    """Step of the mean, as a share of sigma."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the distance to the warm start given back each generation."""

    @model_validator(mode="after")
    def _even(self) -> OpenAiEsSpec:
        _check_even(self.population)
        return self


class AnnealedEsSpec(SearchSpecModel):
    """Antithetic pairs with raw differences; the step falls linearly to zero over the budget."""

    type: Literal["annealed_es"] = "annealed_es"
    population: int = Field(default=128, ge=2)
    """Candidates per generation, two of every pair. Follows from `budget.completions` where that
    is given and this is not."""
    radius: float = Field(default=1.2, gt=0, allow_inf_nan=False)
    """Distance that noise alone moves a coordinate over the whole budget, as a multiple of sigma.
    More learns faster and ends in more noise."""

    @model_validator(mode="after")
    def _even(self) -> AnnealedEsSpec:
        _check_even(self.population)
        return self


class SnesSpec(SearchSpecModel):
    """Separable natural evolution strategy (Wierstra et al. 2014)."""

    type: Literal["snes"] = "snes"
    learning_rate_mean: float = Field(default=1.0, gt=0)
    learning_rate_sigma: float | None = Field(default=None, gt=0)
    """None takes (3 + ln d) / (5 sqrt d)."""
    sigma_min: float = Field(default=1e-3, ge=0)
    """Floor of the step size of every coordinate."""


class RandomSearchSpec(SearchSpecModel):
    """Gaussian samples around the warm start; the mean moves to the best seen. A baseline."""

    type: Literal["random"] = "random"


SearchSpec = Annotated[
    SepCmaEsSpec | CmaEsSpec | OpenAiEsSpec | AnnealedEsSpec | SnesSpec | RandomSearchSpec,
    Field(discriminator="type"),
]


CANDIDATES_OF_A_BLOCK = 4


def groups_of(search: SearchSpec, reward: RewardSpec) -> int:
    """Return the number of equal groups that candidates and prompts are cut into.

    See `essa.groups`.
    """
    design = settled_design(search, reward)
    if design == "blocks":
        return max(1, search.population // CANDIDATES_OF_A_BLOCK)
    return search.population // 2 if design == "pairs" else 1


def completions_of(search: SearchSpec, reward: RewardSpec, batch_size: int, samples: int) -> int:
    """Return the completions of one generation.

    Args:
        batch_size: prompts of the generation, shared out among the groups.
        samples: completions of each candidate per prompt.
    """
    return search.population * (batch_size // groups_of(search, reward)) * samples


def check_design(search: SearchSpec, reward: RewardSpec, batch_size: int) -> None:
    """Refuse a design that the search, the reward or the sizes do not allow.

    Raises:
        SettingError: names the setting to change.
    """
    design, groups = settled_design(search, reward), groups_of(search, reward)
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
                f"cannot be shared out evenly among the {groups} groups that search.design "
                f"{design} makes of {search.population} candidates; use a multiple of {groups}",
            )


def settled_design(search: SearchSpec, reward: RewardSpec) -> str:
    """Return the design with `auto` replaced."""
    if search.design != "auto":
        return search.design
    has_pairs = isinstance(search, AnnealedEsSpec) and not _has_batch_metric(reward)
    return "pairs" if has_pairs else "shared"


def _has_batch_metric(reward: RewardSpec) -> bool:
    return next(models_in(reward, BatchMetricSpec), None) is not None


def _check_even(population: int) -> None:
    if population % 2:
        raise ValueError(f"population is {population}; antithetic pairs need an even number")
