"""Which node, cores and GPUs every engine gets."""

from __future__ import annotations

import pytest

from essa.errors import EngineStartError, SpecError
from essa.spec import TransformersEngineSpec, VllmEngineSpec
from workers.cluster.engine_actor import EngineActor
from workers.cluster.placement import Node, Placement, plan_placement
from workers.engines.build import EngineBuild
from workers.engines.registry import engine_kind


def test_cores_are_divided_among_the_engines():
    assert plan_placement(VllmEngineSpec(workers=2), [Node("a", cpus=4)]) == [
        Placement("a", cores=(0, 1)),
        Placement("a", cores=(2, 3)),
    ]


def test_no_core_belongs_to_two_engines_and_nodes_fill_evenly():
    nodes = [Node("a", cpus=2), Node("b", cpus=4)]
    placements = plan_placement(TransformersEngineSpec(workers=6, cores_per_worker=1), nodes)
    owned = [(placement.node_id, core) for placement in placements for core in placement.cores]
    assert sorted(owned) == [(node.node_id, core) for node in nodes for core in range(node.cpus)]
    assert [placement.node_id for placement in placements[:2]] == ["b", "b"]


def test_cores_per_worker_is_kept():
    placements = plan_placement(VllmEngineSpec(workers=2, cores_per_worker=3), [Node("a", 8)])
    assert [placement.cores for placement in placements] == [(0, 1, 2), (3, 4, 5)]


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [
        (VllmEngineSpec(workers=3), [Node("a", 2)]),
        (VllmEngineSpec(workers=1, cores_per_worker=3), [Node("a", 2), Node("b", 2)]),
        (VllmEngineSpec(workers=2), [Node("a", 1), Node("b", 0)]),
    ],
)
def test_too_few_cores_name_the_settings(spec, nodes):
    with pytest.raises(SpecError, match=r"engine\.workers.*engine\.cores_per_worker") as caught:
        plan_placement(spec, nodes)
    assert caught.value.detail["field"] == "engine.workers"


def test_cores_a_process_may_not_use_stop_the_engine_at_its_start():
    build = EngineBuild(VllmEngineSpec(), "model", 4, 4, ("q_proj",), True, 0)
    with pytest.raises(EngineStartError, match=r"core 100001 .*engine\.workers"):
        EngineActor(build, (100_000,)).start()


@pytest.mark.parametrize(
    ("spec", "cores"),
    [
        (VllmEngineSpec(workers=1, tensor_parallel=2), 4),
        (VllmEngineSpec(workers=2, tensor_parallel=2), 2),
        (VllmEngineSpec(workers=1, tensor_parallel=3, cores_per_worker=3), 3),
    ],
)
def test_ranks_of_an_engine_share_its_cores_evenly(spec, cores):
    placements = plan_placement(spec, [Node("a", 4)])
    assert [len(placement.cores) for placement in placements] == [cores] * spec.workers


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (VllmEngineSpec(workers=1, tensor_parallel=3), "tensor_parallel 3 does not divide the 4"),
        (VllmEngineSpec(workers=4, tensor_parallel=2), "tensor_parallel 2 does not divide the 1"),
        (
            VllmEngineSpec(workers=1, tensor_parallel=2, cores_per_worker=3),
            "tensor_parallel 2 does not divide the 3",
        ),
    ],
)
def test_cores_that_ranks_cannot_share_are_refused(spec, told):
    with pytest.raises(SpecError, match=told) as caught:
        plan_placement(spec, [Node("a", 4)])
    assert "engine.cores_per_worker" in str(caught.value)
    assert caught.value.detail["field"] == "engine.tensor_parallel"


@pytest.mark.parametrize(
    ("cores", "ranks", "written"),
    [((3,), 1, "3"), ((2, 5), 1, "2,5"), ((2, 5), 2, "2|5"), ((0, 1, 6, 7), 2, "0,1|6,7")],
)
def test_cores_are_written_for_vllm_rank_by_rank(cores, ranks, written):
    spec = VllmEngineSpec(tensor_parallel=ranks)
    bound = engine_kind(spec).bound(spec, cores)
    assert bound == {"VLLM_CPU_OMP_THREADS_BIND": written}


def test_an_engine_that_is_not_registered_is_refused_with_those_that_are():
    spec = VllmEngineSpec().model_copy(update={"kind": "toy"})
    with pytest.raises(EngineStartError, match="use one of transformers, vllm"):
        engine_kind(spec)


def test_gpus_come_before_cores():
    nodes = [Node("cpu", cpus=64), Node("gpu", cpus=8, gpus=2)]
    assert plan_placement(VllmEngineSpec(workers=2), nodes) == [Placement("gpu", gpus=1)] * 2


def test_tensor_parallel_engines_get_their_gpus_on_one_node():
    nodes = [Node("a", 8, gpus=2), Node("b", 8, gpus=4)]
    placements = plan_placement(VllmEngineSpec(workers=3, tensor_parallel=2), nodes)
    assert sorted(placement.node_id for placement in placements) == ["a", "b", "b"]
    assert all(placement.gpus == 2 and placement.cores == () for placement in placements)


def test_too_few_gpus_name_the_settings():
    # Four GPUs in all, but an engine cannot span nodes.
    nodes = [Node("a", 8, gpus=2), Node("b", 8, gpus=2)]
    with pytest.raises(SpecError, match=r"workers 1 x engine\.tensor_parallel 4 .*4 GPUs"):
        plan_placement(VllmEngineSpec(workers=1, tensor_parallel=4), nodes)
