"""The old names of options are errors that say the new name, wherever an option is given."""

import sys

import numpy as np
import pytest

from patchaug import Foreground, OptionError, PatchOptions, open_slide
from patchaug.cli import main

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda: Foreground(4, share=0.5), "'share' is now called 'foreground': write foreground=0.5"),
        (lambda: PatchOptions(4, share=0.5), "option 'share' is now called 'foreground'"),
        (lambda: PatchOptions.from_env({"PATCHAUG_SIZE": "4", "PATCHAUG_SHARE": "1"}), "is now called 'foreground'"),
        (lambda: open_slide(IMAGE, IMAGE[..., 0], void=255), "'void' is now called 'ignore_index': write .*=255"),
    ],
)
def test_python(give, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        give()


@pytest.mark.parametrize(("old", "new"), [("share", "foreground"), ("void", "ignore-index")])
@pytest.mark.parametrize("form", ["--{} 0", "--{}=0"])
def test_command_line(old: str, new: str, form: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["patchaug", "show", "s.tiff", *form.format(old).split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert f"--{old} is now called --{new}" in capsys.readouterr().err
