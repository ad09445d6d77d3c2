"""Device and precision of a run."""

from __future__ import annotations

import torch
from fastai.callback.fp16 import MixedPrecision
from fastcore.foundation import L
from torch.amp import GradScaler, autocast

from patchaug.core.ranks import Ranks
from patchaug.errors import OptionError


def find_device(name: str | None) -> torch.device | None:
    """Return a device by name; None leaves the choice to fastai.

    Raises:
        OptionError: This machine, or this build of torch, does not have it.

    Examples:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name is None:
        return None
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("device mps: torch finds no GPU of Apple here; leave the option out, or choose cpu")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or not count:
            raise OptionError(
                f"device {name}: torch {torch.__version__} finds no CUDA GPU here; choose cpu, or install a build of "
                f"torch for the driver of this machine"
            )
        if (device.index or 0) >= count:
            raise OptionError(f"device {name}: there are {count} GPUs, cuda:0 to cuda:{count - 1}")
    return device


def device_of_rank(device: torch.device | None, ranks: Ranks) -> torch.device | None:
    """Return the GPU of this process, where several of a machine train together; else the device as it is.

    Raises:
        OptionError: A certain GPU was chosen for all of them, or there are fewer GPUs than processes.
    """
    if ranks.world_size == 1 or (device is None and not torch.cuda.is_available()):
        return device
    if device is not None and device.type != "cuda":
        return device
    if device is not None and device.index is not None:
        raise OptionError(f"device {device} is one GPU, and each of {ranks.world_size} processes has its own; say cuda")
    count = torch.cuda.device_count()
    if count < ranks.local_world_size:
        raise OptionError(
            f"there are {count} GPUs for {ranks.local_world_size} processes on this machine; start one for each "
            f"GPU: torchrun --nproc-per-node gpu"
        )
    return torch.device("cuda", ranks.local_rank)


def half_precision(device: torch.device) -> torch.dtype:
    """Return the type that mixed precision computes in: fp16 on CUDA, bf16 elsewhere.

    Examples:
        >>> half_precision(torch.device("cpu"))
        torch.bfloat16
    """
    return torch.float16 if device.type == "cuda" else torch.bfloat16


class HalfPrecision(MixedPrecision):
    """Train in mixed precision on any device; fastai's own callback does nothing without CUDA."""

    def before_fit(self) -> None:
        """Prepare the casts, and the scaling of gradients for fp16."""
        device = next(self.learn.model.parameters()).device
        dtype = half_precision(device)
        self.autocast = autocast(device.type, dtype=dtype)
        self.learn.scaler = GradScaler(device.type, enabled=dtype == torch.float16)
        self.scales = L()
