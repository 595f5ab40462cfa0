from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator.blocks import BlockPool, chain_hashes


def test_hashes_are_the_same_in_every_process() -> None:
    assert [block.hex() for block in chain_hashes(range(40), 16)] == ["26ec4e1c03e59b30", "0c68d9c696670dac"]


def test_incomplete_block_has_no_hash() -> None:
    assert len(chain_hashes(range(31), 16)) == 1
    assert chain_hashes(range(15), 16) == ()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=48, max_size=48), st.integers(0, 47))
def test_a_changed_token_changes_its_block_and_all_that_follow(ids: list[int], at: int) -> None:
    changed = list(ids)
    changed[at] ^= 1
    equal = [a == b for a, b in zip(chain_hashes(ids, 16), chain_hashes(changed, 16), strict=True)]
    assert equal == [index < at // 16 for index in range(3)]


def test_released_blocks_stay_findable_until_they_are_needed() -> None:
    pool = BlockPool(3)
    first, *_others = hashes = chain_hashes(range(48), 16)
    assert pool.take(3)
    assert all(pool.publish(block) for block in hashes)
    pool.release(hashes)
    assert pool.used == 0
    assert pool.match(hashes) == 3
    assert pool.take(1)  # the tail goes first: a head is worth more
    assert pool.match(hashes) == 2
    pool.hold([first])
    assert pool.used == 2
    assert not pool.take(2)
    assert pool.take(1)
    assert pool.match(hashes) == 1
    assert pool.used == 3


def test_an_equal_block_is_published_once() -> None:
    pool = BlockPool(2)
    (block,) = chain_hashes(range(16), 16)
    assert pool.take(2)
    assert pool.publish(block)
    assert not pool.publish(block)
    pool.release([block, None])
    assert pool.used == 0
