"""What is measured of each candidate before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from patchaug.advise.balance import Balance, measure_balance
from patchaug.advise.candidate import Candidate
from patchaug.advise.coverage import expected_share_seen, grid_windows, random_windows
from patchaug.advise.cut_objects import cut_share
from patchaug.advise.interval import Interval, interval_around, jackknife_error
from patchaug.advise.label_windows import draw_labels
from patchaug.advise.pace import Pace, measure_pace
from patchaug.advise.receptive_field import ReceptiveField, full_context_share
from patchaug.advise.step_cost import StepMemory, measure_memory, measure_seconds
from patchaug.advise.validation import Block, best_labels, count_block, mean_dice
from patchaug.options.fields import TrainOptions
from patchaug.sampling.uniform import Uniform
from patchaug.slides.slide import Slide

LABEL_WINDOWS = 64  # windows whose labels are counted
PIXELS, PIXELS_ON_CPU = 8 * 256**2, 2 * 256**2  # of a batch; on a CPU a larger one would leave few steps
_LARGEST = 256  # patches in such a batch
_LOSS = 0.1  # of the Dice: the most that missing context, cut objects or places not seen are taken to cost


@dataclass(frozen=True)
class Network:
    """The model whose training is planned.

    Attributes:
        model: The model.
        loss: Of scores and labels.
        n_in: Channels of the images.
        device: Where it is trained.
        field: Its receptive field.
        workers: Processes that read windows; 0: the process that trains.
        pixels: Pixels of a batch, where its size is not given.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Any]
    n_in: int
    device: torch.device
    field: ReceptiveField
    workers: int = 0
    pixels: int = PIXELS


@dataclass(frozen=True)
class Measured:
    """Measurements of one candidate.

    Attributes:
        candidate: The candidate.
        batch: Windows in a batch.
        largest_batch: Windows of the largest batch that the memory holds.
        memory: Memory of a step.
        step: Seconds of a step of `batch` windows.
        pace: Speed of drawing and reading.
        whole_field: Share of a patch whose pixels have the whole receptive field inside.
        effective_field: The same for the effective receptive field.
        cut: Share of pieces of objects in windows that are cut, by class name.
        balance: Classes in windows and batches.
        grid: Windows that see every pixel of the training slides once, side by side.
        random: Uniform random windows that see 95 % of them.
        ceiling: Mean Dice of a perfect model at this resolution, on the validation blocks.
        windows_a_second: Windows that a training takes in a second.
        seen: Function of seconds: expected share of the training slides that the training sees.
    """

    candidate: Candidate
    batch: int
    largest_batch: int
    memory: StepMemory
    step: Interval
    pace: Pace
    whole_field: float
    effective_field: float
    cut: dict[str, Interval]
    balance: Balance
    grid: int
    random: int
    ceiling: Interval
    windows_a_second: float
    seen: Callable[[float], float]

    @property
    def whole_objects(self) -> float:
        """Mean share of objects in windows that are not cut, over the classes that windows hold; 1 without objects."""
        known = [1 - one.value for one in self.cut.values() if not math.isnan(one.value)]
        return float(np.mean(known)) if known else 1.0

    def promise(self, seconds: float) -> float:
        """Return the share by which candidates are chosen for a training, 0 to 1.

        It is what labels at this resolution can reach, lowered by up to a tenth each for pixels without full effective
        context, for objects that are cut, and for the part of the slides that a training of so many seconds leaves out.

        Args:
            seconds: Time of the training.
        """
        ceiling = 1.0 if math.isnan(self.ceiling.value) else self.ceiling.value
        shares = self.effective_field, self.whole_objects, self.seen(seconds)
        return ceiling * math.prod(1 - _LOSS * (1 - share) for share in shares)


def choose_batch(size: int, largest: int, given: int | None, pixels: int = PIXELS) -> int:
    """Return the windows in a batch: as given, else those of a number of pixels; no more than the memory holds.

    Args:
        size: Side of a patch in pixels.
        largest: Windows that the memory holds, at least 1.
        given: Windows in a batch of any size, or None.
        pixels: Pixels of a batch.

    Examples:
        >>> from patchaug.advise.measurements import choose_batch
        >>> choose_batch(128, 100, None), choose_batch(128, 20, None), choose_batch(512, 100, 8)
        (32, 20, 8)
    """
    wanted = min(max(round(pixels / size**2), 1), _LARGEST) if given is None else given
    return max(min(wanted, largest), 1)


def measure_candidate(
    candidate: Candidate, network: Network, train: Sequence[Slide], valid: Sequence[Slide], blocks: Sequence[Block],
    options: TrainOptions, *, memory: float, batch: int | None, seconds: float,
) -> Measured | str:  # fmt: skip
    """Measure a candidate; return the reason in words where its step does not fit into the memory.

    Args:
        candidate: The candidate.
        network: The model.
        train: Training slides, with masks.
        valid: Validation slides, with masks.
        blocks: Parts of the validation slides.
        options: How windows are drawn.
        memory: Bytes of memory for a step.
        batch: Windows in a batch, or None.
        seconds: Time for reading, and the same for steps.
    """
    of_step = measure_memory(network.model, network.loss, candidate.size, network.n_in, network.device)
    largest = of_step.largest_batch(memory)
    if not largest:
        return (
            f"a step of one patch needs {as_bytes(of_step.of(1) * (1 + of_step.margin))}, more than the memory of "
            f"{as_bytes(memory)}"
        )
    chosen = choose_batch(candidate.size, largest, batch, network.pixels)
    step = measure_seconds(
        network.model, network.loss, candidate.size, network.n_in, chosen, network.device, seconds
    )  # fmt: skip
    settings = options.model_copy(update=candidate.options())
    plan = settings.samplers().plan("train", train, seed=options.seed, shuffle=True)
    pace = measure_pace(plan, seconds, draw_seconds=min(seconds, 0.25))
    windows = draw_labels(plan, LABEL_WINDOWS)
    names = options.class_names
    cut = cut_share(windows, range(1, len(names)))
    read, trained = 1 / pace.reads.value, step.value / chosen
    each = max(trained, read / network.workers) if network.workers else trained + read
    domains = [Uniform(**candidate.options()).distribution(slide).domain for slide in train]

    def seen(time: float) -> float:
        pixels = np.array([(one.right - one.left) * (one.bottom - one.top) for one in domains], np.float64)
        shares = [expected_share_seen(one, time / each / len(domains)) for one in domains]
        return float((pixels * shares).sum() / pixels.sum())

    counts = np.array(
        [
            count_block(valid[one.slide], one, best_labels(valid[one.slide], one, candidate), len(names))
            for one in blocks
        ]
    )  # fmt: skip
    where = candidate.size, candidate.level, candidate.mpp
    return Measured(
        candidate, chosen, largest, of_step, step, pace,
        full_context_share(candidate.size, candidate.size, network.field.reach),
        full_context_share(candidate.size, candidate.size, network.field.effective),
        {names[number]: one for number, one in cut.items()},
        measure_balance(windows, len(names), chosen), grid_windows(train, *where), random_windows(train, *where),
        interval_around(mean_dice(counts.sum(0)), jackknife_error(mean_dice, counts)), 1 / each, seen,
    )  # fmt: skip


def as_bytes(number: float) -> str:
    """Return a number of bytes in words.

    Examples:
        >>> from patchaug.advise.measurements import as_bytes
        >>> as_bytes(1.5e9), as_bytes(2_300_000)
        ('1.5 GB', '2.3 MB')
    """
    unit, name = (1e9, "GB") if number >= 1e9 else (1e6, "MB")
    return f"{number / unit:.3g} {name}"
