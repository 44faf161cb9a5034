"""Jobs share the machine by slots, and no two of them sit on the same devices."""

from __future__ import annotations

import os

import pytest

from alignment_api.processes.devices import Devices, Share, SlotTable, find_devices
from alignment_api.settings import Settings
from essa.errors import SpecError
from essa.spec.engine import VllmEngineSpec
from essa.spec.grpo import GrpoSpec


def cores(count: int, slots: int | None = None) -> Devices:
    return Devices(gpus=(), cores=tuple(range(count)), slots=slots or count)


def gpus(count: int, slots: int | None = None) -> Devices:
    names = tuple(str(number) for number in range(count))
    return Devices(gpus=names, cores=(0, 1), slots=slots or count)


def test_there_is_a_slot_for_each_core_of_this_process_where_there_is_no_gpu() -> None:
    found = find_devices(None, {"CUDA_VISIBLE_DEVICES": ""})
    assert found.gpus == ()
    assert set(found.cores) == os.sched_getaffinity(0)
    assert found.slots == len(found.cores)


def test_there_is_a_slot_for_each_visible_gpu() -> None:
    found = find_devices(None, {"CUDA_VISIBLE_DEVICES": "2, 5"})
    assert (found.gpus, found.slots) == (("2", "5"), 2)
    assert find_devices(8, {"CUDA_VISIBLE_DEVICES": "2, 5"}).slots == 8


@pytest.mark.parametrize(
    ("devices", "engine", "slots"),
    [
        (cores(8), {"workers": 1}, 1),
        (cores(8), {"workers": 3}, 3),
        (cores(8), {"workers": 2, "cores_per_worker": 3}, 6),
        (cores(8, slots=4), {"workers": 2, "cores_per_worker": 2}, 2),
        (cores(8, slots=4), {"workers": 2, "cores_per_worker": 3}, 4),
        (cores(8, slots=1), {"workers": 1, "cores_per_worker": 8}, 1),
        (gpus(8), {"workers": 2, "tensor_parallel": 4}, 8),
        (gpus(8), {"workers": 2, "cores_per_worker": 9}, 2),
        (gpus(8, slots=2), {"workers": 1, "tensor_parallel": 4}, 1),
    ],
)
def test_a_job_holds_a_slot_for_each_engine_and_what_it_needs(
    devices: Devices, engine: dict[str, int], slots: int
) -> None:
    assert devices.needed(VllmEngineSpec.model_validate(engine)) == slots


def test_a_job_larger_than_the_machine_names_the_settings_to_change() -> None:
    with pytest.raises(SpecError, match="ESSA_ENGINE_SLOTS") as caught:
        cores(2).needed(VllmEngineSpec(workers=3))
    assert caught.value.detail["field"] == "engine.workers"
    assert "3 slots, and this service has 2" in caught.value.message


@pytest.mark.parametrize("devices", [cores(7, slots=3), cores(8), cores(16, slots=5)])
def test_slots_divide_all_cores_without_overlap(devices: Devices) -> None:
    shares = [devices.share((slot,)).cores for slot in range(devices.slots)]
    assert sorted(core for share in shares for core in share) == list(devices.cores)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_of_gpus_is_told_by_the_usual_variable() -> None:
    share = gpus(4).share((1, 3))
    assert share.environment == {"CUDA_VISIBLE_DEVICES": "1,3"}
    assert share.cores == ()


def test_a_job_that_has_everything_and_one_on_a_cluster_are_not_limited() -> None:
    assert cores(4).share((0, 1, 2, 3)) == Share()
    cluster = Devices(gpus=(), cores=(0, 1), slots=2, is_shared=False)
    assert cluster.share((0,)) == Share()


def test_a_slot_of_a_cluster_is_an_engine_or_a_gpu_whatever_this_machine_has() -> None:
    cluster = Devices(gpus=(), cores=(0, 1), slots=8, is_shared=False)
    assert cluster.needed(VllmEngineSpec(workers=3)) == 3
    assert cluster.needed(VllmEngineSpec(workers=2, cores_per_worker=16)) == 2
    assert cluster.needed(VllmEngineSpec(workers=2, tensor_parallel=4)) == 8
    assert not find_devices(8, {"ESSA_RAY_ADDRESS": "head:6379"}).is_shared


def test_a_trainer_holds_a_gpu_beside_the_engines_and_none_on_cores() -> None:
    assert gpus(2).needed(VllmEngineSpec(), GrpoSpec()) == 2
    assert gpus(8).needed(VllmEngineSpec(workers=2, tensor_parallel=2), GrpoSpec()) == 5
    assert gpus(8, slots=2).needed(VllmEngineSpec(), GrpoSpec()) == 2
    assert cores(2).needed(VllmEngineSpec(workers=2), GrpoSpec()) == 2


def test_gradients_on_a_machine_with_too_few_gpus_are_refused_at_creation() -> None:
    with pytest.raises(SpecError, match=r"hold 1, and this service has 1.* 2 GPUs") as caught:
        gpus(1).needed(VllmEngineSpec(), GrpoSpec())
    assert caught.value.detail["field"] == "engine.workers"
    with pytest.raises(SpecError, match=r"engine\.tensor_parallel"):
        gpus(4).needed(VllmEngineSpec(tensor_parallel=4), GrpoSpec())


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "auto"])
def test_the_address_of_a_cluster_is_host_and_port(address) -> None:
    with pytest.raises(SpecError, match=r"ESSA_RAY_ADDRESS.*HOST:PORT"):
        Settings.from_environment({"ESSA_RAY_ADDRESS": address})


def test_slots_are_taken_once_and_come_back() -> None:
    table = SlotTable(3)
    first, second = table.take(2), table.take(1)
    assert (first, second, table.free) == ((0, 1), (2,), 0)
    table.give_back(first)
    assert table.take(5) == (0, 1)
