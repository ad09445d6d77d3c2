"""The receptive field by gradients is the one that the layers' arithmetic gives."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from patchaug.advise.receptive_field import full_context_share, measure_receptive_field
from patchaug.errors import OptionError

Span = tuple[int, int]  # first and last input pixel, along one axis
Reads = Callable[[int], Span]  # what an output pixel reads


# The arithmetic: the interval of input pixels that one output pixel reads, layer by layer from the output back.
def conv(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Reads:
    return lambda i: (i * stride - padding, i * stride - padding + dilation * (kernel - 1))


def nearest(factor: int) -> Reads:
    return lambda i: (i // factor, i // factor)


def bilinear(factor: int) -> Reads:
    def reads(i: int) -> Span:
        at = (i + 0.5) / factor - 0.5
        return floor(at), floor(at) + (at != floor(at))

    return reads


def transposed(kernel: int, stride: int, padding: int) -> Reads:
    return lambda i: (ceil((i + padding - kernel + 1) / stride), floor((i + padding) / stride))


def chain(*layers: Reads) -> Reads:
    """Layers in the order of the data."""

    def reads(i: int) -> Span:
        low, high = i, i
        for layer in reversed(layers):
            low, high = layer(low)[0], layer(high)[1]
        return low, high

    return reads


def joined(*ways: Reads) -> Reads:
    """Several ways from the same input to the same output."""
    return lambda i: (min(way(i)[0] for way in ways), max(way(i)[1] for way in ways))


def same(i: int) -> Span:
    return i, i


def widest(reads: Reads) -> Span:
    """Largest reach before and after, over all places of an output pixel."""
    places = range(6400, 6464)
    return max(i - reads(i)[0] for i in places), max(reads(i)[1] - i for i in places)


C = 8


class UNet(nn.Module):
    """Two levels, max-pooling, transposed convolutions, skip connections."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.deep = (nn.Conv2d(n, C, 3, padding=1) for n in (3, C, C))
        self.up = nn.ModuleList(nn.ConvTranspose2d(C, C, 4, stride=2, padding=1) for _ in range(2))
        self.join = nn.ModuleList(nn.Conv2d(2 * C, C, 3, padding=1) for _ in range(2))

    def forward(self, x: Any) -> Any:
        pool = nn.functional.max_pool2d
        one = torch.relu(self.first(x))
        two = torch.relu(self.second(pool(one, 2)))
        deep = torch.relu(self.deep(pool(two, 2)))
        two = torch.relu(self.join[0](torch.cat([self.up[0](deep), two], 1)))
        return self.join[1](torch.cat([self.up[1](two), one], 1))


def unet() -> Reads:
    three, pool, up = conv(3, padding=1), conv(2, 2), transposed(4, 2, 1)
    inner = joined(chain(three, pool, three, up), three)  # from the pooled first level to its decoder's input
    return chain(joined(chain(three, pool, inner, three, up), three), three)


def plain() -> tuple[nn.Module, Reads]:
    layers = [nn.Conv2d(3, C, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(C, C, 7, padding=3), nn.ReLU(),
              nn.Conv2d(C, 2, 1)]  # fmt: skip
    return nn.Sequential(*layers), chain(conv(3, padding=1), conv(7, padding=3))


def dilated() -> tuple[nn.Module, Reads]:
    parts: list[nn.Module] = []
    for k, rate in enumerate((1, 2, 4, 8, 16)):
        parts += [
            nn.Conv2d(C if k else 3, C, 3, padding=rate, dilation=rate), nn.BatchNorm2d(C), nn.LeakyReLU(0.1)
        ]  # fmt: skip
    return nn.Sequential(*parts), chain(*(conv(3, padding=rate, dilation=rate) for rate in (1, 2, 4, 8, 16)))


def strided() -> tuple[nn.Module, Reads]:
    """Different along the axes, and with bilinear interpolation."""
    layers = [nn.Conv2d(3, C, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(C, C, (1, 3), padding=(0, 1)),
              nn.Upsample(scale_factor=4, mode="bilinear"), nn.Conv2d(C, 2, 3, padding=1)]  # fmt: skip
    return nn.Sequential(*layers), chain(conv(5, 4, 2), conv(3, padding=1), bilinear(4), conv(3, padding=1))


def small() -> tuple[nn.Module, Reads]:
    """The U-Net of `patchaug train`: residual stages and pixel shuffle."""
    fastai = pytest.importorskip("fastai.vision.learner")
    from patchaug.fastai2.encoders import SMALL, decoder_options, small_encoder

    model = fastai.create_unet_model(
        small_encoder, 2, (64, 64), pretrained=False, n_in=3, **decoder_options(SMALL)
    )  # fmt: skip
    three = conv(3, padding=1)
    # A residual block of stride 2; its other way averages pairs, with fewer pixels.
    stage = joined(chain(conv(3, 2, 1), three), conv(2, 2))
    middle = chain(three, three)
    up = nearest(2)  # a pixel shuffle

    def level(deeper: Reads) -> Reads:
        return chain(joined(chain(stage, deeper, up), same), three, three)

    return model, chain(three, level(level(level(middle))))


def classic() -> tuple[nn.Module, Reads]:
    return UNet(), unet()


@pytest.mark.parametrize("architecture", [plain, dilated, strided, classic, small], ids=lambda one: one.__name__)
def test_gradients_give_the_analytic_field(architecture: Callable[[], tuple[nn.Module, Reads]]) -> None:
    """Reach before and after, for the worst place of an output pixel."""
    torch.manual_seed(0)
    model, reads = architecture()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [one.training for one in model.modules()]
    field = measure_receptive_field(model, 3)
    assert (field.across.before, field.across.after) == widest(reads)
    if architecture is not strided:
        assert (field.down.before, field.down.after) == widest(reads)
    else:
        down = chain(conv(5, 4, 2), bilinear(4), conv(3, padding=1))
        assert (field.down.before, field.down.after) == widest(down)
    assert 0 < field.effective <= field.reach and not field.whole
    assert modes == [one.training for one in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_field_of_the_whole_patch_is_reported_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalization over the patch couples every pixel to all others."""
    monkeypatch.setattr("patchaug.advise.receptive_field._LONGEST", 512)
    field = measure_receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(1, 4)), 3)
    assert field.whole and field.reach >= 192


def test_models_without_a_field_are_one_error() -> None:
    """Constant answers, answers of another size, and models that fail."""

    class Constant(nn.Module):
        def forward(self, x: Any) -> Any:
            return 0 * x[:, :2]

    for model, text in (
        (Constant(), "does not depend on the image"),
        (nn.Conv2d(3, 2, 3), "scores of the image's size"),
        (nn.Conv2d(4, 2, 3), "fails on an image"),
    ):
        with pytest.raises(OptionError, match=text):
            measure_receptive_field(model, 3)


@pytest.mark.parametrize(("height", "width", "reach"), [(5, 7, 0), (5, 7, 1), (5, 7, 2), (5, 7, 3), (64, 64, 9)])
def test_the_share_with_full_context_counts_pixels(height: int, width: int, reach: int) -> None:
    """Against a count of each pixel."""
    inside = sum(
        min(y, x, height - 1 - y, width - 1 - x) >= reach for y in range(height) for x in range(width)
    )  # fmt: skip
    assert full_context_share(height, width, reach) == inside / (height * width)
