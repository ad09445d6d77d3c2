"""Seconds and memory of a training step, and the largest batch that a memory holds.

On CUDA the memory is the allocator's own peak. Elsewhere it is the sum of what a step keeps: weights, gradients and two
moments of the optimizer, the images, all tensors that autograd saves for the backward pass, and three times the largest
of them for gradients on their way. Two batches give a line; a third one shows how far it is off.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from patchaug.advise.interval import Interval, mean_interval
from patchaug.errors import OptionError

Loss = Callable[[Any, Any], Any]
_STATES = 4  # numbers for each weight: itself, its gradient, two moments
_KEPT_MARGIN = 0.15  # of a sum of what a step keeps, for what it does not list: see tests/advise/test_step_cost.py


@dataclass(frozen=True)
class StepMemory:
    """Memory of a training step, linear in the batch.

    Attributes:
        fixed: Bytes of an empty batch.
        per_image: Bytes of each image.
        margin: Share by which a step may need more than the line says.
    """

    fixed: float
    per_image: float
    margin: float

    def of(self, batch: int) -> float:
        """Return the bytes of a step."""
        return self.fixed + self.per_image * batch

    def largest_batch(self, memory: float) -> int:
        """Return the number of images whose step fits into a memory with its margin; 0 where not even one does.

        Examples:
            >>> from patchaug.advise.step_cost import StepMemory
            >>> StepMemory(fixed=100, per_image=10, margin=0.0).largest_batch(150)
            5
        """
        return max(int((memory / (1 + self.margin) - self.fixed) // max(self.per_image, 1)), 0)


def measure_memory(model: nn.Module, loss: Loss, size: int, n_in: int, device: torch.device) -> StepMemory:
    """Measure the memory of a training step on images of zeros; the model stays as it is.

    Args:
        model: The model.
        loss: Of scores and labels.
        size: Side of the images in pixels.
        n_in: Channels of the images.
        device: Where the step runs.

    Raises:
        OptionError: A step of a few images does not fit into the memory of the device.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from patchaug.advise.step_cost import measure_memory
        >>> memory = measure_memory(nn.Conv2d(3, 2, 3, padding=1), nn.CrossEntropyLoss(), 64, 3, torch.device("cpu"))
        >>> memory.per_image >= 64 * 64 * 5 * 4  # image and scores
        True
    """
    batches = (2, 4, 5) if size <= 128 else (1, 2, 3)
    measured = [_bytes(model, loss, size, n_in, batch, device) for batch in batches]
    per_image = (measured[1] - measured[0]) / (batches[1] - batches[0])
    fixed = max(measured[0] - per_image * batches[0], 0.0)
    line = fixed + per_image * batches[2]
    off = abs(measured[2] - line) / line
    return StepMemory(fixed, per_image, off + (0.05 if device.type == "cuda" else _KEPT_MARGIN))


def measure_seconds(
    model: nn.Module, loss: Loss, size: int, n_in: int, batch: int, device: torch.device, seconds: float
) -> Interval:
    """Measure the seconds of a training step; the model stays as it is.

    Args:
        model: The model.
        loss: Of scores and labels.
        size: Side of the images in pixels.
        n_in: Channels of the images.
        batch: Images of a step.
        device: Where the step runs.
        seconds: Time to measure for; three steps are taken at least, the first of which does not count.

    Returns:
        Mean and interval over the steps.
    """
    copied = copy.deepcopy(model).to(device).train()
    optimizer = _Adam(copied)
    images, labels = _batch(size, n_in, batch, device)
    took: list[float] = []
    started = time.perf_counter()
    while len(took) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        loss(copied(images), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - before)
    return mean_interval(took[1:])


def free_cuda_memory(device: torch.device) -> int:
    """Return the bytes that are free on a CUDA device."""
    return int(torch.cuda.mem_get_info(device)[0])


def _bytes(model: nn.Module, loss: Loss, size: int, n_in: int, batch: int, device: torch.device) -> float:
    try:
        if device.type == "cuda":
            return _allocated(model, loss, size, n_in, batch, device)
        return _kept(model, loss, size, n_in, batch, device)
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if "memory" not in str(error).lower():
            raise
        raise OptionError(
            f"a step of {batch} patches of {size} px does not fit into the memory of {device}; leave that size out of "
            f"--sizes, or choose a smaller model"
        ) from None


def _allocated(model: nn.Module, loss: Loss, size: int, n_in: int, batch: int, device: torch.device) -> float:
    """Return the peak of the CUDA allocator over two steps: the moments exist from the first on."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    copied = copy.deepcopy(model).to(device).train()
    optimizer = _Adam(copied)
    images, labels = _batch(size, n_in, batch, device)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):
        loss(copied(images), labels).backward()
        optimizer.step()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def _kept(model: nn.Module, loss: Loss, size: int, n_in: int, batch: int, device: torch.device) -> float:
    """Return the bytes that a step keeps, see the head of this file."""
    copied = copy.deepcopy(model).to(device).train()
    weights = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in copied.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, labels = _batch(size, n_in, batch, device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss(copied(images), labels)  # alive until all is counted, so that no address is used twice
    for one in (images, labels):
        saved[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    del value
    return float(_STATES * sum(weights.values()) + sum(saved.values()) + 3 * max(saved.values()))


class _Adam:
    """Adam's arithmetic on all weights, as fastai does it; those of torch.optim import a compiler for seconds."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = list(model.parameters())
        self._moments = [(torch.zeros_like(one), torch.zeros_like(one)) for one in self._weights]

    def step(self) -> None:
        """Change the weights, and drop their gradients."""
        with torch.no_grad():
            for weight, (first, second) in zip(self._weights, self._moments, strict=True):
                if weight.grad is not None:
                    first.lerp_(weight.grad, 0.1)
                    second.mul_(0.99).addcmul_(weight.grad, weight.grad, value=0.01)
                    weight.addcdiv_(first, second.sqrt().add_(1e-5), value=-1e-4)
                    weight.grad = None


def _batch(size: int, n_in: int, batch: int, device: torch.device) -> tuple[Any, Any]:
    images = torch.zeros(batch, n_in, size, size, device=device)
    return images, torch.zeros(batch, size, size, dtype=torch.long, device=device)
