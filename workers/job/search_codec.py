"""The codec of a job's search, and the layout that sizes its engines before the codec exists."""

from __future__ import annotations

from pathlib import Path

from essa.parametrize.adapter import read_adapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.dimension import check_target
from essa.parametrize.port import Codec, Layout
from essa.parametrize.weights import WeightCodec
from essa.spec import AlignmentJobSpec
from essa.spec.model import AdapterWarmStartSpec
from workers.warm_start.stage import warm_start_lora


def search_codec(job: AlignmentJobSpec, basis: AdapterBasis, warm_start: Path) -> Codec:
    """Return the codec of the search.

    Args:
        job: specification of the job.
        basis: the run's stored bases.
        warm_start: folder of the adapter from which the bases were computed.
    Raises:
        AdapterError: the adapter cannot be read, or has an all-zero factor.
    """
    if job.moves_weights:
        return WeightCodec(read_adapter(warm_start))
    return SingularValueCodec(basis)


def search_layout(job: AlignmentJobSpec) -> Layout:
    """Return the layout of the future `search_codec`, before the adapter is trained.

    Raises:
        AdapterError: the job's given adapter cannot be read.
    """
    rank, modules = _adapter_shape(job)
    if job.moves_weights:
        return WeightCodec.layout_of(rank, modules)
    return SingularValueCodec.layout_of(rank, modules, check_target(job.search.target))


def _adapter_shape(job: AlignmentJobSpec) -> tuple[int, tuple[str, ...]]:
    lora = warm_start_lora(job.warm_start)
    if lora is not None:
        return lora.rank, lora.target_modules
    warm_start = job.warm_start
    assert isinstance(warm_start, AdapterWarmStartSpec)  # the only one that specifies no shape
    adapter = read_adapter(Path(warm_start.path).expanduser())
    rank = max(module.rank for module in adapter.modules)
    return rank, tuple(sorted(adapter.target_modules))
