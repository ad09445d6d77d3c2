"""The parts of a batch that the ranks take."""

from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.rank_parts import part_of, part_sizes


@given(count=st.integers(0, 10**6), world=st.integers(1, 64))
def test_parts_cover_a_batch_once_and_in_order(count: int, world: int) -> None:
    """The parts of all ranks, one after the other, are the batch; they differ by one, and rank 0 has the most."""
    parts = [part_of(count, rank, world) for rank in range(world)]
    assert parts[0].start == 0
    assert parts[-1].stop == count
    assert all(before.stop == after.start for before, after in zip(parts, parts[1:], strict=False))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[0] == max(sizes)
    assert part_sizes(count, world) == sizes
