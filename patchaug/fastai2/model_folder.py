"""A trained model as data: weights in safetensors, all else in JSON; loading it runs no code of the folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data.transforms import Normalize
from fastai.learner import Learner, load_learner
from fastai.torch_core import default_device
from fastai.vision.learner import create_unet_model

from patchaug.core.arrays import Array
from patchaug.core.own_folder import is_own_folder, write_folder
from patchaug.core.ranks import read_ranks
from patchaug.core.validation import checked_integer, sides
from patchaug.core.windows import Window
from patchaug.errors import MissingError, OptionError, PatchaugError, ReadError
from patchaug.fastai2.blocks import OpenSlideImage, OpenSlideMask
from patchaug.fastai2.compute import device_of_rank
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import architecture, decoder_options
from patchaug.fastai2.models import build_model
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.options.fields import PatchOptions

INDEX, WEIGHTS = "model.json", "weights.safetensors"
CONTENT = "model"
_SIDE, _CHANNELS = 2**14, 2**10  # of what a folder may ask for


def save_model(learn: Any, folder: str | os.PathLike[str], *, arch: str, options: PatchOptions) -> None:
    """Write the weights of a U-Net, and what predicting with it needs, to a folder.

    Args:
        learn: Learner of `unet_learner(dls, architecture(arch))` on slides.
        folder: The folder; it appears whole, and replaces only one that patchaug wrote.
        arch: Name of the encoder, see `architecture`; or a model of segmentation_models_pytorch, see `build_model`.
        options: Windows of the training.

    Raises:
        OptionError: safetensors is not installed.
        WriteError: The folder exists and patchaug did not write it, or the disk is full.

    Examples:
        >>> from patchaug import PatchOptions
        >>> from patchaug.fastai2.model_folder import load_model, save_model
        >>> save_model(learn, "model", arch="small", options=PatchOptions(64))  # of a learner with small_encoder
        >>> sorted(file.name for file in Path("model").iterdir())
        ['model.json', 'weights.safetensors']
        >>> one, other = (
        ...     model.predict_slide(slide, what="probabilities") for model in (learn, load_model("model"))
        ... )
        >>> np.allclose(one, other, atol=1e-5)
        True
    """
    save_file = _safetensors().save_file
    image, mask = (_transform(learn.dls, kind) for kind in (OpenSlideImage, OpenSlideMask))
    stored, channels = image.pixels.format
    normalize = [one for one in learn.dls.valid.after_batch.fs if isinstance(one, Normalize)]
    facts = {
        "format": 1,
        "arch": arch,
        "dtype": stored,
        "channels": channels,
        "pixels": {"channels": image.pixels.channels, "series": image.pixels.series, "scale": image.pixels.scale},
        "labels": {"codes": mask.codes, "ignore_index": mask.ignore_index, **mask.polygons},
        "windows": PatchOptions(**{n: getattr(options, n) for n in PatchOptions.model_fields}).model_dump(mode="json"),
        "normalize": [{"mean": one.mean.flatten().tolist(), "std": one.std.flatten().tolist()} for one in normalize],
    }
    # Each tensor owns its memory: two names of one would be an error of safetensors.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in learn.model.state_dict().items()}
    with write_folder(folder, INDEX, CONTENT, facts) as temporary:
        save_file(weights, temporary / WEIGHTS)


def load_model(folder: str | os.PathLike[str]) -> Learner:
    """Rebuild the learner of a folder that `save_model` wrote, for prediction; its loaders hold no slides.

    Nothing in the folder is run: the weights are numbers, and the encoder is one that patchaug knows by name.

    Args:
        folder: The folder.

    Raises:
        MissingError: It is no folder of a model.
        ReadError: A file of it was changed.
        OptionError: It was written by a newer version, or asks for what there is not; or safetensors is not installed.

    Examples:
        >>> from patchaug.fastai2.model_folder import load_model
        >>> try:
        ...     _ = load_model("slides")
        ... except MissingError as error:
        ...     print(error)
        slides: a model is a folder with model.json and weights.safetensors, as patchaug train leaves it
    """
    load_file = _safetensors().load_file
    path = Path(folder)
    facts = _facts(path)
    try:
        options = PatchOptions(**facts["windows"])
        classes, channels = list(facts["labels"]["codes"]), checked_integer("channels", facts["channels"], 1, _CHANNELS)
        if max(sides(options.size)) > _SIDE:
            raise OptionError(f"windows of {options.size} px exceed the limit of {_SIDE}")
        with torch.random.fork_rng(devices=[]):  # weights are drawn, and replaced
            model = _untrained(facts["arch"], channels, len(classes), sides(options.size))
        model.load_state_dict(load_file(path / WEIGHTS))
        learn = Learner(_loaders(facts, options, classes), model, path=path)
    except PatchaugError as error:
        raise type(error)(f"{path / INDEX}: {error}") from None
    except Exception as error:  # safetensors and torch have their own for what does not fit
        raise ReadError(f"{path}: {INDEX} and {WEIGHTS} do not describe a model: {_first_line(error)}") from None
    return learn


def _untrained(arch: str, n_in: int, n_out: int, size: tuple[int, int]) -> Any:
    if arch.startswith("smp:"):
        return build_model(arch, n_in, n_out)
    return create_unet_model(
        architecture(arch), n_out, size, pretrained=False, n_in=n_in, **decoder_options(arch)
    )  # fmt: skip


def _facts(path: Path) -> dict[str, Any]:
    """Read the JSON file of a model folder, and check the digests."""
    index = path / INDEX
    if not (index.is_file() and (path / WEIGHTS).is_file()):
        raise MissingError(f"{path}: a model is a folder with {INDEX} and {WEIGHTS}, as patchaug train leaves it")
    if not is_own_folder(path, INDEX, CONTENT):
        raise ReadError(f"{path}: files of the model were changed since patchaug wrote it; copy it again from its run")
    facts: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    if facts.get("format") != 1:
        raise OptionError(f"{index} is of format {facts.get('format')}, and this version reads 1; update patchaug")
    return facts


def _loaders(facts: dict[str, Any], options: PatchOptions, classes: list[str]) -> Any:
    """Make the loaders of the training around blank slides, and take the slides out again."""
    plain = options.model_copy(
        update={"foreground": 0.0, "min_fraction": 0.0, "classes": None, "per_slide": 1, "windows": None,
                "mode": "random", "channels": None, "series": None, "ram": 0}
    )  # fmt: skip
    blank = [_BlankRaster(facts["dtype"], facts["channels"], plain) for _ in range(2)]
    scale = facts["pixels"]["scale"]
    dls = SlideDataLoaders.from_lists(
        [(blank[0], 0)], [(blank[1], 0)], codes=classes, options=plain, bs=1, num_workers=0, ram=0,
        scale=None if scale is None else [tuple(pair) for pair in scale],
        batch_tfms=[Normalize(*(torch.tensor(one[n])[None, :, None, None] for n in ("mean", "std")))
                    for one in facts["normalize"]],
    ).new_empty()  # fmt: skip
    image, mask = (_transform(dls, kind) for kind in (OpenSlideImage, OpenSlideMask))
    image.pixels.channels, image.pixels.series = facts["pixels"]["channels"], facts["pixels"]["series"]
    labels = dict(facts["labels"])
    mask.codes, mask.ignore_index = labels.pop("codes"), labels.pop("ignore_index")
    mask.polygons = labels
    return dls


class _BlankRaster:
    """Black image that is large enough for a window, with the levels and the pixel size that the windows need."""

    name = "blank"

    def __init__(self, dtype: str, channels: int, options: PatchOptions) -> None:
        height, width = (2 * (side + 2 * _halo(options)) for side in sides(options.size))
        factors = [2**level for level in range(options.level + 1)]
        self.level_dimensions = tuple((width * factors[-1] // f, height * factors[-1] // f) for f in factors)
        self.level_downsamples = tuple(float(factor) for factor in factors)
        self.mpp = None if options.mpp is None else (options.mpp, options.mpp)
        self.dtype, self.channels = np.dtype(dtype), channels

    def read(self, window: Window) -> Array:
        """Return zeros."""
        return np.zeros((window.height, window.width, self.channels), self.dtype)


def _halo(options: PatchOptions) -> int:
    return 0 if options.halo == "auto" else options.halo


def _transform(dls: Any, kind: type) -> Any:
    """Return the one transform of a kind that makes the items of slides."""
    found = [t for one in getattr(dls.valid.dataset, "tls", ()) for t in one.tfms.fs if isinstance(t, kind)]
    if len(found) != 1:
        raise OptionError(
            f"a folder of a model is written for learners of one SlideBlock and one SlideMaskBlock, and this one has "
            f"{len(found)} {kind.__name__}"
        )
    return found[0]


def _safetensors() -> Any:
    try:
        from safetensors import torch as module
    except ImportError:
        raise OptionError("weights as data need safetensors, which is not installed: pip install safetensors") from None
    return module


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def load_pickle(path: Path) -> Learner:
    """Load an exported learner; a pickle runs what its maker put into it.

    Raises:
        OptionError: It is not a learner that was trained on slides.
        ReadError: It cannot be unpickled, such as one of a script whose functions are not importable.
    """
    if (folder := str(Path.cwd())) not in sys.path and "" not in sys.path:
        sys.path.append(folder)  # a model of the user's own code is imported from here, as in training
    try:
        learn = load_learner(path)
    except Exception as error:  # of pickle, and of whatever the pickle imports
        raise ReadError(
            f"{path} cannot be loaded: {_first_line(error)}; a learner of a script needs the script's functions "
            f"importable (PYTHONPATH), the folders model/ of patchaug train need nothing"
        ) from None
    if not isinstance(getattr(getattr(learn, "dls", None), "valid", None), PatchDL):
        raise OptionError(f"{path} is not a learner that was trained on slides")
    return learn


def on_device(learn: Learner, device: str | None) -> Learner:
    """Move a learner to a device; default: fastai's, a GPU where there is one, and one for each rank of a machine.

    Raises:
        OptionError: There is no such device.
    """
    try:
        place = device_of_rank(None if device is None else torch.device(device), read_ranks()) or default_device()
        learn.dls.to(place)
        learn.model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {device!r} cannot be used: {_first_line(error)}; take --device cpu") from None
    return learn


def labels_of(learn: Learner) -> dict[str, Any]:
    """Return how the masks of a learner's training were read, as keyword arguments of `open_slide`."""
    mask = _transform(learn.dls, OpenSlideMask)
    return {"codes": mask.codes, "ignore_index": mask.ignore_index, **mask.polygons}
