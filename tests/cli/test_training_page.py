"""The commands of docs/howto/training.md are accepted, and the reference page lists the options as they are."""

from __future__ import annotations

import re
import shlex
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest

from patchaug.cli import app, train
from patchaug.options.fields import PatchOptions, TrainOptions
from patchaug.options.settings import help_of, metavar_of
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


def row(name: str) -> str:
    """One option as a row of the table."""
    field = TrainOptions.model_fields[name]
    values = metavar_of(name, TrainOptions) if field.annotation is not bool else ""
    text = help_of(name, TrainOptions).partition(" (default ")[0]
    default: Any = "required" if field.is_required() else field.default
    shown = {None: "", True: "on", False: "off"}.get(default, default) if isinstance(default, bool | None) else default
    shown = ",".join(map(str, shown)) if isinstance(shown, list) else shown
    cells = [f"`--{name.replace('_', '-')}`", f"`{values}`" if values else "", str(shown), text]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def test_the_reference_lists_all_options() -> None:
    """Flag, values, default and meaning, in the words of the help."""
    names = [name for name in TrainOptions.model_fields if name not in PatchOptions.model_fields]
    windows = list(PatchOptions.model_fields)
    lines = (DOCS / "reference.md").read_text().splitlines()
    missing = [line for name in (*windows, *names) if (line := row(name)) not in lines]
    assert not missing, "docs/reference.md needs these rows:\n" + "\n".join(missing)
