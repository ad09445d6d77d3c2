"""Encoders for `unet_learner`, by name: a small one for machines without a GPU, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision
from fastai.layers import ConvLayer, ResBlock
from torch import nn

from patchaug.errors import OptionError

SMALL = "small"


def small(pretrained: bool = False) -> nn.Sequential:
    """Build a stem at full resolution and three residual stages, 8 to 64 channels, with random weights.

    The default of `patchaug demo`: on two CPU cores its U-Net trains ten times as many patches a second as resnet18's.
    """
    if pretrained:
        raise OptionError("the small encoder has no pretrained weights; take resnet18 or larger, or train from scratch")
    return nn.Sequential(
        ConvLayer(3, 8),  # no stride: boundaries of small objects are lost at half resolution
        ResBlock(1, 8, 16, stride=2),
        ResBlock(1, 16, 32, stride=2),
        ResBlock(1, 32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),  # where fastai's create_body cuts
    )


def architecture(name: str) -> Callable[..., Any]:
    """Return the function that builds an encoder: "small", or a model of torchvision such as "resnet18".

    Raises:
        OptionError: The name is unknown.
    """
    if name == SMALL:
        return small
    if name in torchvision.models.list_models(torchvision.models):
        model: Callable[..., Any] = getattr(torchvision.models, name)
        return model
    raise OptionError(f"there is no encoder {name!r}; take {SMALL!r} or one of torchvision, such as resnet18")
