"""Memory and seconds of a step: against the allocations of torch, and against arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from patchaug.advise.step_cost import StepMemory, measure_memory, measure_seconds

from .test_receptive_field import UNet

CPU = torch.device("cpu")


def residual() -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for _ in range(4):
        parts += [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.Conv2d(16, 2, 1))


def wide() -> nn.Module:
    """Many weights and few activations."""
    return nn.Sequential(nn.Conv2d(3, 256, 8, stride=8), nn.Conv2d(256, 512, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(512, 2, 1), nn.Upsample(scale_factor=8))  # fmt: skip


def peak(model: nn.Module, loss: Any, size: int, batch: int) -> float:
    """The most bytes that torch has allocated at a time during a step, by its profiler, and weights and moments."""
    images, labels = torch.zeros(batch, 3, size, size), torch.zeros(batch, size, size, dtype=torch.long)

    def step() -> None:
        loss(model(images), labels).backward()
        model.zero_grad()

    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [one for one in profile.profiler.kineto_results.events() if one.name() == "[memory]"]
    live = most = 0
    for one in sorted(events, key=lambda event: event.start_ns()):
        live += one.nbytes()
        most = max(most, live)
    weights = sum(one.numel() for one in model.parameters())
    return most + 12 * weights + images.nbytes + labels.nbytes


@pytest.mark.parametrize("make", [UNet, residual, wide], ids=lambda one: one.__name__)
def test_memory_is_that_of_torchs_allocations(make: Any) -> None:
    """Extrapolated to another batch, within the margin that is reported; and never far too much."""
    torch.manual_seed(0)
    model, loss = make(), nn.CrossEntropyLoss()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    memory = measure_memory(model, loss, 128, 3, CPU)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    truth = peak(model, loss, 128, 10)
    assert truth <= memory.of(10) * (1 + memory.margin)
    assert memory.of(10) <= 1.35 * truth


@pytest.mark.parametrize(("memory", "batch"), [(0, 0), (109, 0), (110, 1), (160, 6), (169, 6)])
def test_the_largest_batch_fits_and_one_more_does_not(memory: int, batch: int) -> None:
    """Arithmetic of the line; a memory too small for one image gives 0."""
    line = StepMemory(100, 10, 0.0)
    assert line.largest_batch(memory) == batch
    assert batch == 0 or line.of(batch) <= memory
    assert line.of(batch + 1) > memory
    assert StepMemory(100, 10, 0.5).largest_batch(memory) <= batch


def test_seconds_leave_the_model_as_it_is() -> None:
    """Three steps at least, of which the first does not count."""
    model = residual()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    seconds = measure_seconds(model, nn.CrossEntropyLoss(), 32, 3, 2, CPU, 0.0)
    assert 0 < seconds.value < 60 and seconds.low <= seconds.value <= seconds.high
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
