"""`patchaug train` in several processes: one voice, one text for an error, and going on."""

import csv
import json
from pathlib import Path

from ..rank_processes import run_ranks
from .rank_command import run_command


def test_a_killed_launch_goes_on_with_other_ranks(folder: Path, tmp_path: Path) -> None:
    """Three ranks lose one of them to SIGKILL; the next start of the launch has two, and goes on where they were."""
    out = tmp_path / "run"
    ended = run_ranks(3, run_command, folder, ["--out", str(out)], "kill", ends=False)
    assert ended[1] == "killed"
    told = [one["err"] for one in (ended[0], ended[2]) if "patchaug" in one["err"]]
    assert len(told) == 1
    assert "another of the 3 processes has ended without an error" in told[0]
    assert [ended[0]["code"], ended[2]["code"]] == [1, 1]
    assert (out / "checkpoint.pt").is_file()
    first, second = run_ranks(2, run_command, folder, ["--out", str(out)])
    assert (first["code"], second) == (0, {"code": 0, "out": "", "err": ""})
    assert first["out"].endswith(f"results are in {out}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert json.loads((out / "report.json").read_text())["epochs_done"] == 2
    assert [row["windows"] for row in csv.DictReader((out / "history.csv").open())] == ["16", "32"]


def test_an_error_of_one_rank_ends_all_with_one_text(folder: Path, tmp_path: Path) -> None:
    """The rank that cannot read a window tells it; a launch of another name leaves its folder alone."""
    words = ["--out", str(tmp_path / "run"), "--json"]
    first, second = run_ranks(2, run_command, folder, words, "read")
    assert second["err"] == "patchaug, rank 1: slide s1: tile 7 is damaged\n"
    assert json.loads(second["out"]) == {"error": "slide s1: tile 7 is damaged", "kind": "ReadError"}
    assert (first["code"], second["code"], first["out"]) == (1, 1, "")
    assert "damaged" not in first["err"]
