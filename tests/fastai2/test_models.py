"""Models of the user's own and of segmentation_models_pytorch, and weights from files: made, or one clear error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from patchaug import MissingError, OptionError, PatchaugError, ReadError
from patchaug.fastai2.checkpoint_files import write_checkpoint
from patchaug.fastai2.compute import find_device
from patchaug.fastai2.initial_weights import load_weights
from patchaug.fastai2.models import build_model, require_segmentation, split_encoder

MODULE = """
from torch import nn

def good(n_in, n_out, depth=1):
    return nn.Conv2d(n_in, n_out, 3, padding=1)

def smaller(n_in, n_out):
    return nn.Conv2d(n_in, n_out, 3)

def text(n_in, n_out):
    return "model"

def positional(channels, classes):
    return nn.Conv2d(channels, classes, 1)

def fails(n_in, n_out):
    raise ValueError("no memory\\nfor this")

class Inner(nn.Module):
    def forward(self, x):
        return {"out": x}

def mapping(n_in, n_out):
    return Inner()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module own_models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own_models", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_models.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import a_library_that_is_missing")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("own_model:good", "there is no module 'own_model', neither in"),
        ("own_broken:good", "importing own_broken failed: ModuleNotFoundError: No module named 'a_library_that_is"),
        ("own_models:god", "has no 'god'; did you mean good?"),
        ("own_models:MODULE", "has no 'MODULE'"),
        ("own_models:positional", "positional must be callable as positional(n_in=3, n_out=2)"),
        ("own_models:nn", "nn must be callable as nn(n_in=3, n_out=2)"),
        ("own_models:text", "gives a str; it must return a torch.nn.Module"),
        ("own_models:fails", "fails(n_in=3, n_out=2) failed: ValueError: no memory"),
        ("own_models:smaller", "gives (1, 2, 14, 14) for one image of 16 x 16 px; it must give scores (1, 2, 16, 16)"),
        ("own_models:mapping", "gives dict for one image"),
        ("own_models:Inner.forward", "must be callable as"),
    ],
)
def test_a_path_that_leads_to_no_model_is_one_line(here: Path, path: str, text: str) -> None:
    with pytest.raises(OptionError, match=re.escape(text)) as caught:
        require_segmentation(build_model(path, 3, 2), path, 3, 2, (16, 16))
    assert "\n" not in str(caught.value)


def test_a_model_of_ones_own(here: Path) -> None:
    """Channels and classes arrive; the trial leaves modes and random numbers alone."""
    model = nn.Sequential(build_model("own_models:good", 4, 3), nn.Dropout(), nn.BatchNorm2d(3).eval())
    before = torch.get_rng_state()
    require_segmentation(model, "x", 4, 3, (16, 24))
    assert torch.equal(torch.get_rng_state(), before)
    assert [m.training for m in model] == [True, True, False]
    assert not model[2].num_batches_tracked
    with pytest.raises(OptionError, match="model x fails on an image of 5 channels and 16 x 16 px: RuntimeError"):
        require_segmentation(model, "x", 5, 3, (16, 16))


def test_models_of_segmentation_models_pytorch() -> None:
    """Made with random weights; typing errors are named."""
    pytest.importorskip("segmentation_models_pytorch")
    model = build_model("smp:Unet/resnet18", 4, 3)
    require_segmentation(model, "smp:Unet/resnet18", 4, 3, (64, 64))
    first, rest = split_encoder(model)
    assert len(first) == len(list(model.encoder.parameters()))
    assert len(first) + len(rest) == len(list(model.parameters()))
    with pytest.raises(OptionError, match="has no 'Unett', but .*Unet,"):
        build_model("smp:Unett/resnet18", 3, 2)
    with pytest.raises(OptionError, match="there is no encoder 'resnet19'; did you mean .*resnet18"):
        build_model("smp:Unet/resnet19", 3, 2)


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from patchaug.fastai2.event_log import require_tensorboard

    for name in ("segmentation_models_pytorch", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match=r"pip install 'patchaug\[smp\]'"):
        build_model("smp:Unet/resnet18", 3, 2)
    with pytest.raises(OptionError, match=r"pip install 'patchaug\[tensorboard\]'"):
        require_tensorboard()


def test_weights_of_each_kind_of_file(tmp_path: Path) -> None:
    """Plain, wrapped, of several GPUs, of our checkpoints, safetensors: all the same weights."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    source = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = source.state_dict()
    torch.save(state, tmp_path / "a.pth")
    torch.save({"model": state, "opt": {}}, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "c.pt")
    write_checkpoint(tmp_path / "best.pt", {"patchaug_best": {"epoch": 1}, "model": dict(state)})
    save_file(dict(state), tmp_path / "d.safetensors")
    for file in sorted(tmp_path.iterdir()):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        assert not torch.equal(model[0].weight, source[0].weight)
        load_weights(model, file)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items()), file


class Evil:
    """A pickle that would write a file."""

    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_weights_that_do_not_fit_are_one_line(here: Path) -> None:
    """Everything that differs is counted; no pickled object is loaded."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    torch.save(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)).state_dict(), "other.pth")
    torch.save({"model": Evil()}, "evil.pth")
    torch.save([1, 2], "list.pth")
    for name in ("broken.pth", "broken.safetensors"):
        Path(name).write_bytes(b"no weights")
    cases: list[tuple[str, type[PatchaugError], str]] = [
        ("other.pth", OptionError, "of 7 weights 5 are missing (1.weight, 1.bias, 1.running_mean, and 2 more), 2 are "
         "unexpected (2.weight, 2.bias), 1 are of another shape (0.weight (4, 4, 1, 1) in place of (4, 3, 1, 1))"),
        ("evil.pth", ReadError, "holds other objects than weights, which could run code"),
        ("list.pth", ReadError, "holds no weights by name"),
        ("broken.pth", ReadError, "is damaged"),
        ("broken.safetensors", ReadError, "is damaged, or not a file of safetensors"),
        ("none.pth", MissingError, "there is no file none.pth"),
    ]  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name, kind, text in cases:
        if name.endswith("safetensors"):
            pytest.importorskip("safetensors")
        with pytest.raises(kind, match=re.escape(text)) as caught:
            load_weights(model, name)
        assert "\n" not in str(caught.value)
    assert not Path("evil").exists()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_devices_that_are_not_here_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_device(None) is None and find_device("cpu") == torch.device("cpu")
    with pytest.raises(OptionError, match="device cuda: torch .* finds no CUDA GPU here; choose cpu"):
        find_device("cuda")
    with pytest.raises(OptionError, match="device mps: torch finds no GPU of Apple here"):
        find_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(OptionError, match="device cuda:2: there are 2 GPUs, cuda:0 to cuda:1"):
        find_device("cuda:2")
