"""How a loader divides its batches: laws without processes."""

from collections.abc import Iterator
from typing import Any

import torch
from fastai.vision.all import Flip, Pipeline, nn
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.ranks import Ranks
from patchaug.data.rank_sums import over_ranks, summing
from patchaug.data.segmentation_losses import SlideCombinedLoss
from patchaug.fastai2.rank_batches import RankBatches, WholeBatch
from patchaug.fastai2.sync_batch_norm import restore_batch_norm, synchronise_batch_norm


class Loader(RankBatches):
    """A loader of numbers, as fastai's workers iterate it."""

    groups, batch_weights, dataset, after_batch = None, None, None, None

    def __init__(self, count: int, bs: int, drop_last: bool) -> None:
        self._DataLoader__idxs, self.bs, self.drop_last = list(range(100, 100 + count)), bs, drop_last
        self.n, self.num_workers, self.offs = count, 1, 0

    def batches(self, workers: int) -> Iterator[list[int]]:
        """The batches of all workers, in the order in which torch yields them."""
        parts = []
        for self.offs in range(workers):
            self.num_workers = workers
            parts.append(list(self.chunkify(self.sample())))
        for step in range(max(map(len, parts))):
            yield from (part[step] for part in parts if step < len(part))


@given(
    count=st.integers(1, 40), bs=st.integers(1, 9), world=st.integers(1, 12), workers=st.integers(1, 3),
    drop_last=st.booleans(),
)  # fmt: skip
def test_the_parts_of_all_ranks_are_the_batches_of_one_process(count, bs, world, workers, drop_last) -> None:
    """In order, for any number of workers; a rank without a part has a window of the batch that does not count."""
    drop_last = drop_last and count >= bs
    loader = Loader(count, bs, drop_last)
    whole = [loader._DataLoader__idxs[at : at + bs] for at in range(0, count, bs)]
    whole = [step for step in whole if len(step) == bs] if drop_last else whole
    merged: list[list[int]] = [[] for _ in whole]
    for rank in range(world):
        with loader.divided(Ranks(rank, world)):
            batches = list(loader.stepwise(loader.batches(workers)))
            assert len(batches) == len(whole)
            for loader._step, batch in enumerate(batches):
                own = batch[: len(loader.part)]
                assert loader.batch_windows == len(whole[loader._step])
                assert len(batch) == max(len(own), 1) == max(loader.parts[rank], 1)
                assert set(batch) <= set(whole[loader._step])
                merged[loader._step] += own
    assert merged == whole


@given(count=st.integers(1, 9), world=st.integers(1, 5), seed=st.integers(0, 99))
def test_random_batch_transforms_are_drawn_as_for_the_whole_batch(count, world, seed) -> None:
    """The rows of all ranks are those of one process, from the same state of the generators."""
    images = torch.arange(count * 4.0).reshape(count, 1, 2, 2)
    from fastai.vision.all import TensorImage

    def flipped(transforms: Any, rows: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(seed)
        return transforms((TensorImage(rows),))[0].as_subclass(torch.Tensor)

    pipeline, loader, parts = Pipeline([Flip(0.5)], split_idx=0), Loader(count, count, False), []
    for rank in range(world):
        with loader.divided(Ranks(rank, world)):
            part = loader.part
            made = flipped(WholeBatch(pipeline, loader), images[part.start : part.stop] if part else images[-1:])
            parts.append(made[: len(part)])
            assert len(made) == max(len(part), 1)
    assert torch.equal(torch.cat(parts), flipped(pipeline, images))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_losses_that_sum_over_ranks_have_the_gradient_of_the_whole_batch(windows, world, seed) -> None:
    """The mean of the ranks' gradients, times their number, is that of one process; so is the loss of each."""
    torch.manual_seed(seed)
    scores, labels = torch.randn(windows, 3, 4, 4, dtype=torch.float64), torch.randint(0, 4, (windows, 4, 4))
    loss = SlideCombinedLoss(3, [1, 2, 3])
    alone = scores.clone().requires_grad_()
    value = loss(alone, labels)
    value.backward()
    sums: list[list[torch.Tensor]] = []  # of each rank, in the order of its calls
    for _ in range(2):  # the first round collects what each rank would send
        found, calls = [], sums
        sums = []
        for rank in range(world):
            own, sent = range(rank, windows, world), []

            def total(values: torch.Tensor, rank=rank, own=own, sent=sent, calls=calls) -> torch.Tensor:
                values = values * bool(own)
                sent.append(values.detach())
                others = [of[len(sent) - 1] for number, of in enumerate(calls) if number != rank]
                return values + sum(others)

            part = scores[list(own) or [0]].clone().requires_grad_()
            with summing(total):
                one = loss(part, labels[list(own) or [0]])
            one.backward()
            sums.append(sent)
            found.append((one, part, own))
    for one, part, own in found:
        torch.testing.assert_close(one, value)
        torch.testing.assert_close(part.grad[: len(own)], alone.grad[list(own)])
    assert over_ranks(value) is value


def test_batch_norm_comes_back_with_its_statistics() -> None:
    """The layers are replaced by those of all ranks, share their tensors, and come back."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2)))
    before, layers = model.state_dict(), list(model.modules())
    replaced = synchronise_batch_norm(model)
    assert isinstance(model[1][0], nn.SyncBatchNorm)
    model[1][0].running_mean += 1
    model.eval()
    restore_batch_norm(replaced)
    assert list(model.modules()) == layers
    assert not model[1][0].training
    assert list(before) == list(model.state_dict())
    assert torch.equal(model[1][0].running_mean, torch.ones(2))
