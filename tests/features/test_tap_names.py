"""Names of blocks: read, written back, and chosen from."""

from itertools import permutations

import pytest

from featx.features.tap_names import describe_blocks, read_blocks, split_tap

BLOCKS = (("a", "avg"), ("a", "max"), ("b", "avg"), ("b", "gem"), ("top", "none"))


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 4])
def test_every_choice_of_blocks_is_described_and_read_back(n_blocks):
    for blocks in permutations(BLOCKS, n_blocks):
        taps, pooling = describe_blocks(blocks)
        assert read_blocks(taps, pooling) == blocks
        assert describe_blocks(read_blocks(taps, pooling)) == (taps, pooling)


def test_a_layer_may_have_a_colon_in_its_name():
    assert split_tap("scope:conv") == ("scope:conv", ())
    assert split_tap("scope:conv:max") == ("scope:conv", ("max",))
