"""Encoders for `unet_learner`, by name: a small one for machines without a GPU, and torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from fastai.layers import ConvLayer, ResBlock
from fastai.vision.learner import create_unet_model
from torch import nn

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError

SMALL = "small"


@names_arguments
def small_encoder(pretrained: bool = False) -> nn.Sequential:
    """Build a stem at full resolution and three residual stages, 8 to 64 channels, from scratch.

    `patchaug train` and `patchaug demo` use it by default. On two CPU cores its U-Net trains ten times as many patches
    a second as resnet18's.

    Args:
        pretrained: Must be False: there are no pretrained weights.

    Returns:
        The encoder, ending in the pooling layer where fastai's `create_body` cuts.

    Raises:
        OptionError: Pretrained weights are requested.

    Examples:
        >>> from fastai.vision.all import unet_learner
        >>> learn = unet_learner(dls, small_encoder, pretrained=False)
        >>> learn.model(dls.train.one_batch()[0]).shape
        torch.Size([2, 2, 64, 64])
    """
    if pretrained:
        raise OptionError("the small encoder has no pretrained weights; take resnet18 or larger, or train from scratch")
    return nn.Sequential(
        ConvLayer(3, 8),  # no stride: boundaries of small objects are lost at half resolution
        ResBlock(1, 8, 16, stride=2),
        ResBlock(1, 16, 32, stride=2),
        ResBlock(1, 32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),
    )


def architecture(name: str) -> Callable[..., Any]:
    """Return the function that makes an encoder: "small", or a model of torchvision such as "resnet18".

    Raises:
        OptionError: There is no such encoder, or fastai cannot build a U-Net on it.
    """
    if name == SMALL:
        return small_encoder
    if name in torchvision.models.list_models(torchvision.models):
        encoder: Callable[..., Any] = getattr(torchvision.models, name)
        require_unet(encoder, name)
        return encoder
    raise OptionError(f"there is no encoder {name!r}; take {SMALL!r} or one of torchvision, such as resnet18")


def decoder_options(name: str) -> dict[str, Any]:
    """Return the arguments of fastai's `DynamicUnet` that go with an encoder."""
    # The small encoder works at full resolution: fastai's last block would add a third of the time and change nothing.
    return {"last_cross": False} if name == SMALL else {}


def require_unet(encoder: Callable[..., Any], name: str) -> None:
    """Raise OptionError unless fastai can build a U-Net on an encoder. No memory is taken, and no random number."""
    with torch.device("meta"):
        try:
            create_unet_model(encoder, 2, (128, 128), pretrained=False)
        except Exception as error:  # whatever the foreign model raises
            why = str(error).partition("\n")[0] or type(error).__name__
            raise OptionError(
                f"{name} cannot be the encoder of a U-Net: fastai finds no stages of halved resolution in it ({why}); "
                f'take "{SMALL}", or a convolutional network such as resnet34'
            ) from None
