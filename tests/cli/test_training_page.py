"""The commands of docs/howto/training.md are accepted."""

from __future__ import annotations

import re
import shlex
from inspect import unwrap
from pathlib import Path

import pytest

from patchaug.cli import app, train
from patchaug.options.fields import TrainOptions
from patchaug.testing.synthetic_slides import write_slide

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMANDS = re.findall(r"^patchaug train .*", (DOCS / "howto" / "training.md").read_text(), re.M)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders slides and masks with two slides."""
    root = tmp_path_factory.mktemp("page")
    (root / "masks").mkdir()
    for number in range(2):
        write_slide(root / "slides", f"s{number}", size=512, seed=number)
        (root / "slides" / f"s{number}_mask.tiff").rename(root / "masks" / f"s{number}.tiff")
    return root


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_commands_that_are_accepted(command: str, slides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the training; each flag arrives as the option."""
    taken: list[TrainOptions] = []
    # By name: the package has a function `train` in place of the module.
    monkeypatch.setitem(
        unwrap(train).__globals__, "train_and_report", lambda left, right, options, *rest, **more: taken.append(options)
    )
    monkeypatch.chdir(slides)
    words = shlex.split(command)[1:]
    assert app(words, standalone_mode=False) is None
    given = taken[0].model_dump(mode="json")
    assert given != TrainOptions(size=256, images="slides", codes=["background", "nucleus"]).model_dump(mode="json")
    for flag in (word for word in words if word.startswith("--")):
        assert given[flag[2:].replace("-", "_")] not in (None, False)
