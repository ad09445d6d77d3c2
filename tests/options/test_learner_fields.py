"""Options of the learner: each wrong value is one line, and the same text reads the same from every source."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from patchaug import OptionError
from patchaug.options.fields import TrainOptions
from patchaug.options.learner_fields import LearnerOptions, parse_duration, parse_model
from patchaug.options.settings import help_of, metavar_of

GIVEN: dict[str, Any] = {"size": 64, "images": "i", "codes": ["background", "nucleus"]}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"loss": "dise"}, "'loss' should be 'cross_entropy', 'dice', 'focal' or 'cross_entropy+dice', got 'dise'"),
        ({"class_weights": "balance"}, "'class_weights' should be 'none' or 'balanced', or a valid list"),
        ({"class_weights": [1.0]}, "has 1 numbers, and there are 2 names: background, nucleus"),
        ({"class_weights": [1, -1]}, "'class_weights[1]' should be greater than or equal to 0, got -1"),
        ({"class_weights": [0, 0]}, "class_weights are all 0"),
        ({"class_weights": {"nuclei": 1}}, "names 'nuclei', which is not one of background, nucleus"),
        ({"class_weights": {"nucleus": 1}}, "'background' has none"),
        ({"metrics": ["f1"]}, "'metrics[0]' should be 'dice', 'iou', 'accuracy', 'precision' or 'recall', got 'f1'"),
        ({"metrics": ["dice", "dice"]}, "metrics names one twice: dice, dice"),
        ({"metrics": []}, "'metrics' should be List should have at least 1 item"),
        ({"early_stopping": 0}, "'early_stopping' should be greater than or equal to 1, got 0"),
        ({"optimizer": "lamb"}, "'optimizer' should be 'adamw', 'adam' or 'sgd', got 'lamb'"),
        ({"schedule": "cosine"}, "should be 'one-cycle', 'flat-cos', 'fine-tune' or 'constant', got 'cosine'"),
        ({"schedule": "fine-tune"}, "needs weights that know something: set init or pretrained"),
        ({"schedule": "fine-tune", "epochs": 1, "init": "w.pth"}, "needs epochs of 2 at least"),
        ({"accumulate": 0}, "'accumulate' should be greater than or equal to 1, got 0"),
        ({"amp": "fp16"}, "'amp' should be a valid boolean, got 'fp16'"),
        ({"device": "gpu"}, "device must be cpu, cuda, cuda:N or mps, got 'gpu'"),
        ({"time_limit": "8"}, 'time_limit must be a time with its unit, such as "8h"'),
        ({"time_limit": "0h"}, "got '0h'"),
        ({"time_limit": "30m8h"}, "got '30m8h'"),
        ({"augment": "histologie"}, "got 'histologie'; did you mean histology?"),
        ({"augment": "pipeline.pkl"}, "or a file (.json, .yaml, .yml), got 'pipeline.pkl'"),
        ({"model": "net.py"}, 'model must be "package.module:function", or "smp:NAME/ENCODER"'),
        ({"model": "smp:Unet"}, "got 'smp:Unet'"),
        ({"model": "net:make", "arch": "resnet18"}, "arch belongs to the U-Net that model='net:make' replaces"),
        ({"model": "net:make", "pretrained": True}, "pretrained belongs to the U-Net"),
        ({"init": "weights.bin"}, "init must be a file (.safetensors, .pth, .pt), got 'weights.bin'"),
        ({"init": "w.pth", "pretrained": True}, "init and pretrained both give the first weights"),
        ({"log": "wandb"}, "'log' should be 'csv' or 'tensorboard', got 'wandb'"),
        ({"log_level": "loud"}, "'log_level' should be 'debug', 'info', 'warning' or 'error', got 'loud'"),
    ],
)
def test_wrong_values_are_one_line(values: dict[str, Any], text: str) -> None:
    """In a script, and as flags, where the option's name is that of the flag."""
    with pytest.raises(OptionError, match=re.escape(text)) as caught:
        TrainOptions(**GIVEN, **values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("class_weights", "balanced", "balanced"),
        ("class_weights", "none", "none"),
        ("class_weights", "1,3", [1.0, 3.0]),
        ("class_weights", "nucleus=3,background=0.5", {"nucleus": 3.0, "background": 0.5}),
        ("metrics", "iou", ["iou"]),
        ("metrics", "iou,recall", ["iou", "recall"]),
        ("time_limit", "1h30m", "1h30m"),
        ("early_stopping", "none", None),
        ("model", "smp:UnetPlusPlus/timm-efficientnet-b0", "smp:UnetPlusPlus/timm-efficientnet-b0"),
        ("loss", "cross_entropy+dice", "cross_entropy+dice"),
        ("device", "cuda:1", "cuda:1"),
    ],
)
def test_flags_variables_and_files_say_the_same(name: str, text: str, value: Any, tmp_path: Path) -> None:
    """Command line, environment, JSON, and what is saved."""
    by_flag = TrainOptions.layered({name: text}, environ={}, **GIVEN)
    assert getattr(by_flag, name) == value
    assert TrainOptions.layered(environ={f"PATCHAUG_{name.upper()}": text}, **GIVEN) == by_flag
    by_flag.save(tmp_path / "options.json")
    assert TrainOptions.from_file(tmp_path / "options.json") == by_flag
    assert json.loads((tmp_path / "options.json").read_text())[name] == value


def test_weights_are_in_the_order_of_the_codes() -> None:
    options = TrainOptions(**GIVEN, class_weights={"nucleus": 3, "background": 1})
    assert options.numbers_of_classes(options.codes) == [1, 3]
    assert TrainOptions(**GIVEN).numbers_of_classes(["a"]) is None


def test_durations_and_paths_of_models() -> None:
    texts = {"8h": 28800, "90m": 5400, "1h30m": 5400, "2d": 172800, "45s": 45, "0.5H": 1800, "1h 1s": 3601}
    assert {text: parse_duration(text) for text in texts} == texts
    assert parse_model("a.b:C.make") == ("a.b", "C.make") and parse_model("smp:Unet/x-b0") == ("smp", "Unet/x-b0")


@pytest.mark.parametrize("name", LearnerOptions.model_fields)
def test_help_is_plain(name: str) -> None:
    """Each value that can be listed is in the help text or its placeholder; no type of Python is."""
    text = f"{metavar_of(name, TrainOptions)} {help_of(name, TrainOptions)}"
    assert not re.search(r"<|Path|list\[|dict|None|\['", text)
    for word in {
        "loss": ["focal", "cross_entropy+dice"],
        "metrics": ["iou", "recall"],
        "device": ["mps", "cuda:N"],
    }.get(name, []):
        assert word in text
