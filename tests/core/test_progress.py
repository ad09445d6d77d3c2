"""The bar of long work."""

import sys

import pytest

from patchaug.core import progress as module
from patchaug.core.progress import progress


@pytest.mark.parametrize(
    ("terminal", "patience", "shown"), [(True, 0.0, True), (False, 0.0, False), (True, 9.0, False)]
)
def test_a_bar_appears_on_a_terminal_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool, patience: float, shown: bool
) -> None:
    """It says what is done, on stderr; without a terminal, or for short work, nothing is written."""
    monkeypatch.setattr(module, "_PATIENCE", patience)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(progress(range(40), 40, "s: indexing its mask")) == list(range(40))
    out, err = capsys.readouterr()
    assert out == "" and ("indexing its mask" in err) is shown and (err == "") is not shown


def test_a_bar_goes_when_the_work_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error within the work passes through; a second bar can be shown afterwards."""
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(ZeroDivisionError):
        list(progress((1 // (2 - number) for number in range(5)), 5, "work"))
    assert list(progress(range(3), 3, "work")) == [0, 1, 2]
