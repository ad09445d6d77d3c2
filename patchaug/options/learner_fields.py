"""Options of the learner: model, loss, schedule, and what a run reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from math import inf
from typing import Annotated, Any, Literal

from pydantic import Field

from patchaug.augment import Augment, load_pipeline
from patchaug.errors import OptionError
from patchaug.options import Settings

Weight = Annotated[float, Field(ge=0)]
Metric = Literal["dice", "iou", "accuracy", "precision", "recall"]

SMALL = "small"
OF_BATCHES = ("flips+light", "flips", "none")  # augmentations of whole batches, on the device
AUGMENTATIONS = (*OF_BATCHES, "histology", "aerial")
PIPELINES = (".json", ".yaml", ".yml")
WEIGHTS = (".safetensors", ".pth", ".pt")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _shown_as(placeholder: str) -> dict[str, Any]:
    """Return what help texts show in place of a value."""
    return {"placeholder": placeholder}


class LearnerOptions(Settings):
    """What is trained, how, and on what: the options of a learner."""

    epochs: int = Field(5, title="Epochs", description="passes over the slides' windows", ge=1, examples=[10])
    bs: int = Field(8, title="Batch size", description="patches in a batch", ge=1, examples=[16])
    accumulate: int = Field(
        1, title="Accumulate", ge=1, examples=[4],
        description="batches whose gradients are averaged for one step, as if a batch were so many times larger",
    )  # fmt: skip
    lr: float = Field(3e-3, title="Learning rate", description="highest learning rate", gt=0, examples=[0.003])
    schedule: Literal["one-cycle", "flat-cos", "fine-tune", "constant"] = Field(
        "one-cycle", title="Schedule", examples=["flat-cos"], json_schema_extra=_shown_as("NAME"),
        description="learning rate over the run: one-cycle rises and falls, flat-cos falls in the last quarter, "
        "fine-tune trains the last layers for an epoch and then all at half the rate, constant stays",
    )  # fmt: skip
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", title="Optimizer", examples=["sgd"],
        description="adamw with weight decay 0.01, adam without, or sgd with momentum 0.9",
    )  # fmt: skip
    loss: Literal["cross_entropy", "dice", "focal", "cross_entropy+dice"] = Field(
        "cross_entropy", title="Loss", examples=["cross_entropy+dice"], json_schema_extra=_shown_as("NAME"),
        description="what training minimizes: cross_entropy, dice, focal or cross_entropy+dice; pixels of the ignored "
        "label do not count",
    )  # fmt: skip
    class_weights: Literal["none", "balanced"] | Annotated[list[Weight], Field(min_length=1)] | dict[str, Weight] = (
        Field(
            "none", title="Class weights", examples=["balanced", [1, 3], {"background": 1, "nucleus": 3}],
            json_schema_extra=_shown_as("NAME|X,X"),
            description="weights of the classes in the loss: none, balanced (by the pixels of the training masks), or "
            "numbers: 1,3 in the order of the codes, or background=1,nucleus=3",
        )
    )  # fmt: skip
    metrics: Annotated[list[Metric], Field(min_length=1)] = Field(
        ["dice"], title="Metrics", examples=[["dice", "iou"]],
        json_schema_extra=_shown_as("NAME,NAME"),
        description="scores of each epoch, with commas: dice, iou, accuracy, precision, recall; the first one decides "
        "which epoch is the best",
    )  # fmt: skip
    early_stopping: int | None = Field(
        None, title="Early stopping", ge=1, examples=[5],
        description="end the run after so many epochs in a row without a better first metric",
    )  # fmt: skip
    time_limit: str | None = Field(
        None, title="Time limit", examples=["8h"],
        json_schema_extra=_shown_as("8h"),
        description="end the run after this time, such as 8h, 90m or 1h30m, and save its state for --resume",
    )  # fmt: skip
    augment: str = Field(
        "flips+light", title="Augmentation", examples=["histology"], min_length=1,
        json_schema_extra=_shown_as("NAME|FILE"),
        description="flips+light, flips, none, histology, aerial, or a file of albumentations.save (.json, .yaml)",
    )  # fmt: skip
    arch: str = Field(
        SMALL, title="Encoder", json_schema_extra=_shown_as("small|NAME"),
        description='encoder of the U-Net: "small", or one of torchvision, such as resnet34',
        examples=["resnet34"],
    )  # fmt: skip
    model: str | None = Field(
        None, title="Own model", examples=["smp:Unet/resnet18", "mypackage.models:make_model"],
        json_schema_extra=_shown_as("MODULE:FUNCTION"),
        description="model in place of the U-Net: package.module:function, a function of yours that is called with "
        "n_in and n_out, or smp:NAME/ENCODER of segmentation_models_pytorch",
    )  # fmt: skip
    pretrained: bool = Field(
        False, title="Pretrained", description="start the encoder from torchvision's weights, which are downloaded"
    )
    init: str | None = Field(
        None, title="Weights to start from", examples=["weights.safetensors"],
        json_schema_extra=_shown_as("FILE"),
        description="file of weights that the model starts from: .safetensors, or .pth of torch",
    )  # fmt: skip
    device: str | None = Field(
        None, title="Device", examples=["cuda:1"],
        json_schema_extra=_shown_as("NAME"),
        description="cpu, cuda, cuda:N or mps; the first GPU where there is one when left out",
    )  # fmt: skip
    amp: bool = Field(
        False, title="Mixed precision", description="compute in 16 bits where it is safe: fp16 on CUDA, bf16 elsewhere"
    )
    workers: int | None = Field(
        None, title="Workers", description="processes that read; fastai chooses when left out", ge=0, examples=[4]
    )
    checkpoint_minutes: float = Field(
        10, title="Checkpoint", description="minutes between checkpoints within an epoch", gt=0, examples=[10],
        json_schema_extra={"unit": "minutes"},
    )  # fmt: skip
    log: Literal["csv", "tensorboard"] = Field(
        "csv", title="Log", examples=["tensorboard"],
        description="history.csv alone, or also files for TensorBoard in the folder tensorboard",
    )  # fmt: skip
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", title="Messages", examples=["warning"], description="least important messages that stderr shows"
    )

    @property
    def time_limit_seconds(self) -> float | None:
        """Seconds of `time_limit`, or None."""
        return None if self.time_limit is None else parse_duration(self.time_limit)

    def pipeline(self) -> Augment | None:
        """Return the pipeline of albumentations that `augment` names; None for augmentations of batches.

        Raises:
            PatchaugError: The file does not exist or holds no pipeline, or albumentations is not installed.
        """
        return None if self.augment in OF_BATCHES else load_pipeline(self.augment)

    def numbers_of_classes(self, codes: Iterable[str]) -> list[float] | None:
        """Return the class weights that are given as numbers, in the order of the codes, or None.

        Args:
            codes: Names of the classes.

        Raises:
            OptionError: There are not as many weights as classes, a name is no class, or all weights are 0.
        """
        given, names = self.class_weights, list(codes)
        if isinstance(given, str):
            return None
        if isinstance(given, dict):
            unknown = [name for name in given if name not in names]
            if unknown:
                raise OptionError(f"class_weights names {unknown[0]!r}, which is not one of {', '.join(names)}")
            missing = [name for name in names if name not in given]
            if missing:
                raise OptionError(f"class_weights needs a number for each class, and {missing[0]!r} has none")
            given = [given[name] for name in names]
        if len(given) != len(names):
            raise OptionError(
                f"class_weights has {len(given)} numbers, and there are {len(names)} names: {', '.join(names)}"
            )
        if not any(given):
            raise OptionError("class_weights are all 0, so that nothing would be learnt; give one class more")
        return list(given)

    def _check_learner(self, codes: Iterable[str]) -> None:
        """Check what a single field cannot say."""
        self.numbers_of_classes(codes)
        if len(set(self.metrics)) < len(self.metrics):
            raise OptionError(f"metrics names one twice: {', '.join(self.metrics)}")
        if self.time_limit is not None:
            parse_duration(self.time_limit)
        if self.device is not None and not re.fullmatch(r"cpu|mps|cuda(:\d+)?", self.device):
            raise OptionError(f"device must be cpu, cuda, cuda:N or mps, got {self.device!r}")
        _require_suffix("augment", self.augment, PIPELINES, AUGMENTATIONS)
        if self.init is not None:
            _require_suffix("init", self.init, WEIGHTS)
        self._check_model()

    def _check_model(self) -> None:
        if self.model is not None:
            parse_model(self.model)
            for name in ("arch", "pretrained"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise OptionError(f"{name} belongs to the U-Net that model={self.model!r} replaces; remove one")
        if self.init is not None and self.pretrained:
            raise OptionError("init and pretrained both give the first weights; remove one")
        if self.schedule == "fine-tune":
            if self.epochs < 2:
                raise OptionError("schedule fine-tune needs epochs of 2 at least: in the first the encoder is frozen")
            if self.init is None and self.model is None and not self.pretrained:
                raise OptionError(
                    "schedule fine-tune freezes the encoder at first, which needs weights that know something: set "
                    "init or pretrained, or choose one-cycle"
                )


def parse_duration(text: str) -> float:
    """Return the seconds of a text such as "8h", "90m", "1h30m" or "2d".

    Raises:
        OptionError: It is no such text, or 0.

    Examples:
        >>> parse_duration("1h30m")
        5400.0
    """
    pattern = "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS)
    match = re.fullmatch(pattern, text.replace(" ", "").lower())
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), _UNITS.values(), strict=True)) if match else 0
    if not 0 < seconds < inf:
        raise OptionError(f'time_limit must be a time with its unit, such as "8h", "90m" or "1h30m", got {text!r}')
    return seconds


def parse_model(text: str) -> tuple[str, str]:
    """Split the path of a model: (module, function), or ("smp", "NAME/ENCODER").

    Raises:
        OptionError: It is no such path.

    Examples:
        >>> parse_model("mypackage.models:make_model")
        ('mypackage.models', 'make_model')
    """
    name = r"[A-Za-z_]\w*"
    if not re.fullmatch(rf"smp:{name}/[\w.-]+|(?!smp:){name}(\.{name})*:{name}(\.{name})*", text):
        raise OptionError(
            f'model must be "package.module:function", or "smp:NAME/ENCODER" such as smp:Unet/resnet18, got {text!r}'
        )
    module, _, function = text.partition(":")
    return module, function


def _require_suffix(name: str, value: str, suffixes: tuple[str, ...], names: tuple[str, ...] = ()) -> None:
    if value in names or value.lower().endswith(suffixes):
        return
    near: list[Any] = get_close_matches(value, names, n=1, cutoff=0.5)
    choices = (f"one of {', '.join(names)}, or " if names else "") + f"a file ({', '.join(suffixes)})"
    raise OptionError(f"{name} must be {choices}, got {value!r}" + (f"; did you mean {near[0]}?" if near else ""))
