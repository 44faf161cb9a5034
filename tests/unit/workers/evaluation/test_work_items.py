"""Work items: every rollout once, in sizes that keep the engines busy."""

from __future__ import annotations

import pytest

from essa.dispatch import (
    ITEMS_PER_ENGINE,
    MIN_ROWS,
    bundles,
    item_sequences,
    plan_blocks,
    queue_limit,
)
from workers.engines.base import BASE, SamplingParameters
from workers.evaluation.work_items import work_items

GREEDY = SamplingParameters(max_tokens=4)


@pytest.mark.parametrize("candidates", [[0], [BASE], [BASE, 0, 1], list(range(16))])
@pytest.mark.parametrize("prompts", [1, 7, 24, 1000])
@pytest.mark.parametrize(("engines", "capacity"), [(1, 4), (2, 192), (8, 64)])
def test_every_pair_is_in_exactly_one_block(candidates, prompts, engines, capacity):
    blocks = plan_blocks(candidates, prompts, engines=engines, capacity=capacity)
    pairs = [(block.row, p) for block in blocks for p in range(block.start, block.stop)]
    assert sorted(pairs) == [(row, p) for row in range(len(candidates)) for p in range(prompts)]
    for block in blocks:
        assert block.candidate == candidates[block.row]
        assert 1 <= block.stop - block.start <= capacity


def test_there_are_enough_blocks_to_share_out():
    blocks = plan_blocks([0, 1], 1000, engines=4, capacity=512)
    assert len(blocks) >= 4 * ITEMS_PER_ENGINE


def test_blocks_of_a_small_job_are_not_crumbs():
    blocks = plan_blocks(list(range(16)), 24, engines=8, capacity=64)
    assert min(block.stop - block.start for block in blocks) >= MIN_ROWS


def test_items_carry_their_blocks_prompts():
    prompt_ids = [(i, i + 1) for i in range(20)]
    blocks = plan_blocks([BASE, 3], 20, engines=1, capacity=8)
    for key, item in enumerate(work_items([(one,) for one in blocks], prompt_ids, GREEDY)):
        block = blocks[item.key]
        assert item.key == key
        assert item.candidates == (block.candidate,) * len(item.prompts)
        assert item.prompts == tuple(prompt_ids[block.start : block.stop])


def test_all_candidates_meet_the_same_randomness_and_no_two_prompts_do():
    parameters = SamplingParameters(max_tokens=4, temperature=1.0, samples=3, seed=100)
    blocks = plan_blocks([0, 1], 20, engines=1, capacity=8)
    items = work_items([(one,) for one in blocks], [(i,) for i in range(20)], parameters)
    seeds: dict[int, dict[int, int]] = {0: {}, 1: {}}
    for item in items:
        for position, prompt in enumerate(item.prompts):
            # What an engine makes of it: one seed per prompt, and one more per sample.
            first = item.parameters.seed + position * item.parameters.samples
            seeds[item.candidates[0]][prompt[0]] = first
    assert seeds[0] == seeds[1]
    used = {first + sample for first in seeds[0].values() for sample in range(3)}
    assert used == set(range(100, 100 + 20 * 3))


def test_candidates_with_few_prompts_share_an_item_and_keep_their_own_prompts():
    blocks = plan_blocks(range(64), 2, engines=1, capacity=64)
    together = bundles(blocks, item_sequences(128, engines=1, capacity=64))
    # Groups of two candidates, each with two prompts of its own.
    items = work_items(together, [(i,) for i in range(64)], GREEDY, lambda row: row // 2 * 2)
    assert len(items) <= 2 * ITEMS_PER_ENGINE
    asked = [
        (candidate, prompt[0])
        for item in items
        for candidate, prompt in zip(item.candidates, item.prompts, strict=True)
    ]
    assert asked == [(n, n // 2 * 2 + p) for n in range(64) for p in (0, 1)]
    assert max(len(item.prompts) for item in items) <= 64 / 4


def test_a_block_leaves_room_for_others_in_an_engines_batch():
    blocks = plan_blocks(range(4), 100, engines=1, capacity=64)
    sizes = [block.stop - block.start for block in blocks]
    assert max(sizes) <= 64 / 4
    assert max(sizes) - min(sizes) <= max(sizes) / 2
    assert sum(sizes) == 400


def test_the_last_work_is_dealt_out_evenly_and_a_queue_is_short_before():
    # 576 sequences for two engines of 192: half each, though a queue of 240 is usual.
    assert 288 <= queue_limit(192, 2, unfinished=576, item=24) < 288 + 24
    assert queue_limit(192, 2, unfinished=5760, item=24) == 240
    assert queue_limit(192, 2, unfinished=48, item=24) == 240
