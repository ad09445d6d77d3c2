"""EpochSampler: new windows in each epoch, for plain loops, Lightning and accelerate; and its state."""

import hashlib
import importlib.util
import pickle
import warnings
from itertools import chain
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

from patchaug import EpochSampler, Foreground, Grid, OptionError, PatchDataset, Uniform, open_slide
from patchaug.testing import coordinate_image, coordinate_mask

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def made(windows: int = 12, **kwargs) -> PatchDataset:
    """Windows of one coordinate-coded slide."""
    slide = open_slide(coordinate_image(96, 128), coordinate_mask(96, 128), name="a")
    return PatchDataset([slide], Uniform(16, per_slide=windows), **kwargs)


def epoch(patches: PatchDataset, number: int) -> list[str]:
    """The hash of each patch of an epoch, in order."""
    n = len(patches)
    return [digest(patches.plan.read(patches.plan[k]).image) for k in range(number * n, (number + 1) * n)]


def digest(image: np.ndarray) -> str:
    """The hash of a patch."""
    return hashlib.sha256(np.ascontiguousarray(image, np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize("workers", [0, 2])
def test_each_pass_of_a_loader_is_the_next_epoch(workers: int) -> None:
    """In order; also with set_epoch, which chooses it."""
    patches = made()
    sampler = EpochSampler(patches)
    loader = DataLoader(patches, batch_size=5, sampler=sampler, num_workers=workers)
    passes = [[digest(image.numpy()) for batch in loader for image in batch.image] for _ in range(3)]
    assert passes == [epoch(patches, k) for k in range(3)] and len({*chain(*passes)}) == 36
    sampler.set_epoch(1)
    assert [digest(image.numpy()) for batch in loader for image in batch.image] == passes[1]
    for _ in loader:
        break  # a pass that ends early has used its epoch
    assert next(iter(sampler)) == 3 * 12


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_a_step_is_that_of_one_process(windows: int, world: int, bs: int, even: bool) -> None:
    """Step b of all ranks together is windows b * B to (b + 1) * B; only what makes no round of ranks is left out."""
    patches = PatchDataset([open_slide(np.zeros((8, 8, 3), np.uint8), name="a")], Uniform(4, per_slide=windows))
    if even and windows < world:
        with pytest.raises(OptionError, match=f"an epoch has {windows} windows, fewer than {world} processes"):
            EpochSampler(patches, rank=0, world_size=world)
        return
    samplers = [EpochSampler(patches, rank=rank, world_size=world, even=even) for rank in range(world)]
    for number in range(2):
        lengths = [len(sampler) for sampler in samplers]
        ranks = [list(sampler) for sampler in samplers]
        assert lengths == [len(rank) for rank in ranks] and (not even or len(set(lengths)) == 1)
        last = windows - windows % world if even else windows
        for step in range(-(-last // (bs * world))):
            found = {index for rank in ranks for index in rank[step * bs : (step + 1) * bs]}
            first, end = step * bs * world, min((step + 1) * bs * world, last)
            assert found == {number * windows + place for place in range(first, end)}


@given(st.integers(4, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 12), st.integers(0, 3))
def test_a_state_goes_on_with_another_world(windows: int, before: int, after: int, steps: int, number: int) -> None:
    """The windows of both worlds are those of the epoch, each once."""
    patches = PatchDataset([open_slide(np.zeros((8, 8, 3), np.uint8), name="a")], Uniform(4, per_slide=windows))
    steps = min(steps, windows // before)
    done: list[int] = []
    states = []
    for rank in range(before):
        sampler = EpochSampler(patches, rank=rank, world_size=before, even=False)
        sampler.set_epoch(number)
        indices = iter(sampler)
        done += [next(indices) for _ in range(steps)]
        states.append(sampler.state_dict())
        assert sampler.state_dict(done=steps * before) == states[0]
    rest: list[int] = []
    for rank in range(after):
        sampler = EpochSampler(patches, rank=rank, world_size=after, even=False)
        sampler.load_state_dict(states[0])
        length = len(sampler)
        rest += list(sampler)
        assert len(list(sampler)) == len(sampler) or length
    whole = range(number * windows, (number + 1) * windows)
    following = range((number + 1) * windows, (number + 2) * windows)
    assert sorted(done + rest) == (list(whole) if len(done) < windows else sorted([*whole, *following]))


def test_a_loader_that_reads_ahead_is_still_within_its_epoch() -> None:
    """Workers have asked for all indices long before the last batch: `done` counts what was trained on."""
    patches = made()
    sampler = EpochSampler(patches)
    for step, _ in enumerate(DataLoader(patches, batch_size=2, sampler=sampler, num_workers=2)):
        if step == 3:
            state = sampler.state_dict(done=(step + 1) * 2)
    assert state == {"seed": 42, "epoch": 0, "done": 8, "windows": 12}
    assert sampler.state_dict() == {**state, "done": 12}
    again = EpochSampler(patches)
    again.load_state_dict(state)
    again.set_epoch(0)  # as Lightning does
    assert len(again) == 4 and list(again) == [8, 9, 10, 11] and list(again) == list(range(12, 24))
    again.load_state_dict(sampler.state_dict())
    assert again.epoch == 1 and list(again) == list(range(12, 24))


def test_states_and_arguments_that_do_not_fit() -> None:
    """What, the value, the cure."""
    patches = made()
    sampler = EpochSampler(patches)
    state = sampler.state_dict()
    for other, text in [
        ({"seed": 1}, "saved with seed=1, and this data set has 42"),
        ({"windows": 9}, "saved with windows=9, and this data set has 12"),
        ({"done": 13}, r"done of the state must be in 0..12, got 13"),
        ({"more": 1}, "a state holds seed, epoch, done, windows; got"),
    ]:
        with pytest.raises(OptionError, match=text):
            sampler.load_state_dict({**state, **other})
    sampler.load_state_dict({**state, "epoch": 3})
    with pytest.raises(OptionError, match=r"set_epoch\(0\), but the state that was loaded continues epoch 3"):
        sampler.set_epoch(0)
    for arguments, text in (
        ({"rank": 2, "world_size": 2}, "rank must be in 0..1, got 2"),
        ({"world_size": 0}, "world_"),
    ):
        with pytest.raises(OptionError, match=text):
            EpochSampler(patches, **arguments)


@pytest.mark.parametrize("sampler", [None, "distributed"])
def test_a_loop_without_epochs_is_a_warning(sampler: str | None) -> None:
    """Once, in the second pass; the text names the cure."""
    patches = made()
    chosen = None if sampler is None else DistributedSampler(patches, num_replicas=2, rank=0)
    loader = DataLoader(patches, batch_size=4, shuffle=sampler is None, sampler=chosen)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(loader)
        assert not caught
        for _ in range(4):
            list(loader)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 1 and "sampler=EpochSampler(dataset)" in texts[0] and "epoch 0 are read a second" in texts[0]


def test_what_repeats_by_right_is_no_warning() -> None:
    """A fixed grid, a look at some patches, loops with epochs, Python's own loop, and copies in other processes."""
    slide = open_slide(coordinate_image(96, 128), coordinate_mask(96, 128), name="a")
    patches, grid = made(), PatchDataset([slide], Grid(32))
    loader = DataLoader(patches, sampler=EpochSampler(patches))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            list(DataLoader(grid))
            list(loader)
        assert len(list(patches)) == len(list(patches)) == 12
        fresh = made()
        for _ in range(5):
            fresh[0]
        for _ in range(3):  # a process for each
            copy = pickle.loads(pickle.dumps(fresh))
            [copy[place] for place in range(12)]


def example(name: str) -> ModuleType:
    """An example of the project, as a module."""
    pytest.importorskip(name.removesuffix("_loop"), reason=f"{name} needs it")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["lightning_loop", "accelerate_loop"])
def test_the_examples_train_on_three_epochs(name: str) -> None:
    """Three sets of windows, equal for 0 and 2 workers."""
    train = example(name).train
    slide = open_slide(coordinate_image(96, 128), coordinate_mask(96, 128), name="a")
    runs = []
    for workers in (0, 2):
        patches = PatchDataset([slide], Foreground(16, per_slide=12, foreground=0.5))
        seen: list[str] = []
        model = torch.nn.Conv2d(3, 5, 1)
        model.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.extend(
                digest((image * 255).round().permute(1, 2, 0).cpu().numpy()) for image in inputs[0].detach()
            )
        )
        train(patches, model, epochs=3, num_workers=workers)
        runs.append(seen)
        assert seen == [one for k in range(3) for one in epoch(patches, k)]
    assert runs[0] == runs[1] and len(set(runs[0])) > 30
