"""The population's methods in vLLM's worker: bases in, scales in, slots out.

vLLM imports this module by name in each worker process before it builds the model there; importing
it installs the patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.model_manager import LoRAModelManager
from vllm.platforms import current_platform

from essa.errors import EngineError
from essa.parametrize.engine_basis import ModuleBasis
from workers.engines.vllm_basis_file import read_basis
from workers.engines.vllm_cpu_kernels import install_cpu_kernels, steady_linear_layers
from workers.engines.vllm_population import LayerBuffers, install_patches, linear_layers

if TYPE_CHECKING:
    from workers.engines.vllm_population import PopulationManager

install_patches()
if current_platform.is_cpu():
    install_cpu_kernels()


class PopulationWorkerExtension:
    """Methods that vLLM adds to its worker; called through `collective_rpc`."""

    # The worker's own, only declared: vLLM refuses an extension that defines them again.
    model_runner: Any
    model_config: Any

    def population_load_basis(self, path: str) -> None:
        """Fill the layers' buffers from a file of `vllm_basis_file`.

        Raises:
            EngineError: a module of the basis is not in the model, or shapes differ.
        """
        manager = self._population_manager()
        places = _module_places(manager)
        plan = [_plan_module(places, module) for module in read_basis(path)]
        # Nothing has changed so far: a refused basis leaves the old one in place.
        manager.essa_table.zero_()
        self._essa_columns = np.concatenate([_fill_module(*step) for step in plan])
        for layer in linear_layers(manager).values():
            layer.essa_buffers.pack()

    def population_start(self, count: int) -> None:
        """Give adapters 1 .. count a slot each, so that none is ever evicted."""
        from vllm.lora.request import LoRARequest

        if current_platform.is_cpu():
            steady_linear_layers(self.model_runner.model, self.model_config.dtype)
        for number in range(1, count + 1):
            self.model_runner.lora_manager.add_adapter(
                LoRARequest(str(number), number, "population")
            )

    def population_set_scales(self, blob: bytes, rows: int) -> None:
        """Overwrite the table: row n of the blob, float32 (rows, S), belongs to adapter n + 1."""
        manager = self._population_manager()
        scales = np.frombuffer(blob, dtype=np.float32).reshape(rows, -1)
        slots = self.population_slots()
        missing = [number for number in range(1, rows + 1) if number not in slots]
        if missing:
            raise EngineError(
                f"vLLM evicted the adapters {missing[:5]}; max_loras is "
                f"{manager.lora_config.max_loras} for {rows} candidates"
            )
        table = np.zeros((rows, manager.essa_table.shape[1]), dtype=np.float32)
        table[:, self._essa_columns] = scales
        order = torch.tensor([slots[number] for number in range(1, rows + 1)])
        manager.essa_table[:-1].zero_()
        manager.essa_table[order.to(manager.essa_table.device)] = torch.from_numpy(table).to(
            manager.essa_table.device
        )
        for wrapper in manager.punica_wrapper_mapping.values():
            # Read by `_write_slots`.
            slots_then = list(manager.lora_index_to_id)
            wrapper.essa_slots = slots_then  # pyright: ignore[reportAttributeAccessIssue]

    def population_slots(self) -> dict[int, int]:
        """Return the slot of each adapter number, which vLLM assigns in order of activation."""
        held = self._population_manager().lora_index_to_id
        return {number: slot for slot, number in enumerate(held) if number is not None}

    def _population_manager(self) -> PopulationManager:
        return self.model_runner.lora_manager._adapter_manager


@dataclass(frozen=True)
class _Place:
    layer: BaseLinearLayerWithLoRA
    slice_index: int
    first_column: int
    second_column: int | None


def _module_places(manager: LoRAModelManager) -> dict[str, _Place]:
    """Return each Hugging Face module's slice of a wrapped layer and its columns of the table."""
    places: dict[str, _Place] = {}
    start = 0
    for name, layer in linear_layers(manager).items():
        buffers: LayerBuffers = layer.essa_buffers
        width = layer.n_slices * buffers.rank
        children = manager.packed_modules.get(name) or [name]
        for index, child in enumerate(children):
            first = start + index * buffers.rank
            places[child] = _Place(
                layer, index, first, None if buffers.core is None else first + width
            )
        start += width * (1 if buffers.core is None else 2)
    return places


@dataclass(frozen=True)
class _ModuleArrays:
    """The part of one module's basis that this process needs."""

    shrink: torch.Tensor
    core: torch.Tensor | None
    expand: torch.Tensor


def _plan_module(places: dict[str, _Place], module: ModuleBasis) -> tuple[_Place, _ModuleArrays]:
    """Find a module's place and check that its arrays fit there."""
    name = module.name
    place = places.get(name)
    if place is None:
        raise EngineError(
            f"module {name!r} of the adapter is not adapted in the engine, which adapts "
            f"{', '.join(sorted(places)[:8])} ..."
        )
    buffers: LayerBuffers = place.layer.essa_buffers
    if (module.core is None) != (buffers.core is None):
        started = "product" if buffers.core is None else "factors"
        raise EngineError(
            f"the engine was started for search.target {started}; {name!r} is for the other one"
        )
    shrink, expand = _shard(
        place.layer,
        place.slice_index,
        torch.from_numpy(module.shrink),
        torch.from_numpy(module.expand),
    )
    rank, wide = shrink.shape
    out = place.layer.output_slices[place.slice_index]
    if rank > buffers.rank or wide != buffers.shrink.shape[0] or expand.shape != (out, rank):
        raise EngineError(
            f"the basis of {name!r} is {tuple(shrink.shape)} and {tuple(expand.shape)}; its layer "
            f"takes (r, {buffers.shrink.shape[0]}) and ({out}, r) with r up to {buffers.rank}"
        )
    core = None if module.core is None else torch.from_numpy(module.core)
    return place, _ModuleArrays(shrink, core, expand)


def _fill_module(place: _Place, arrays: _ModuleArrays) -> np.ndarray:
    """Copy one module's basis into its slice; return its columns in the table."""
    buffers: LayerBuffers = place.layer.essa_buffers
    rank = arrays.shrink.shape[0]
    row = place.slice_index * buffers.rank
    out = sum(place.layer.output_slices[: place.slice_index])
    buffers.shrink[:, row : row + rank].copy_(arrays.shrink.T)
    buffers.expand[row : row + rank, out : out + arrays.expand.shape[0]].copy_(arrays.expand.T)
    columns = [np.arange(place.first_column, place.first_column + rank)]
    if arrays.core is not None:
        # `_plan_module` has checked that the layer has them too.
        assert buffers.core is not None
        assert place.second_column is not None
        buffers.core[row : row + rank, row : row + rank].copy_(arrays.core.T)
        columns.append(np.arange(place.second_column, place.second_column + rank))
    return np.concatenate(columns)


def _shard(
    layer: BaseLinearLayerWithLoRA, index: int, shrink: torch.Tensor, expand: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return this rank's part under tensor parallelism; scales and core are replicated."""
    if layer.tp_size == 1:
        return shrink, expand
    if layer.n_slices == 1:
        return layer.slice_lora_a(shrink), layer.slice_lora_b(expand)
    wide: list[torch.Tensor | None] = [None] * layer.n_slices
    narrow = list(wide)
    wide[index], narrow[index] = shrink, expand
    first, second = layer.slice_lora_a(wide)[index], layer.slice_lora_b(narrow)[index]
    assert first is not None  # since neither input was
    assert second is not None
    return first, second
