"""The number of processes does not matter: windows of a step, weights, and what validation says."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from ..rank_processes import run_ranks
from .ranked import train_all, train_part

CASES = [
    {"workers": 2},
    {"loss": "torch", "bs": 7, "flips": True},
    {"loss": "dice", "drop_last": True, "bs": 5, "per_slide": 3},
    {"loss": "both", "per_slide": 3},
    {"weights": True, "per_slide": 3, "bs": 5},
    {"mode": "adaptive", "per_slide": 3, "bs": 5, "epochs": 2},
]  # the last batches of the first two have 3 and 6 windows


@pytest.fixture(scope="module")
def cases(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The cases, each with the slides' folder."""
    return [{**case, "folder": folder, "out": tmp_path_factory.mktemp("out")} for case in CASES]


def merged(ranks: list[dict], name: str) -> list[list[str]]:
    """The windows of each step, of all ranks in their order."""
    return [list(chain(*parts)) for parts in zip(*(seen[name] for seen in ranks), strict=True)]


def require_alike(ranks: list[dict], alone: dict) -> None:
    """Require that the ranks have seen, computed and recorded what one process does."""
    assert merged(ranks, "steps") == alone["steps"]
    assert merged(ranks, "validated") == alone["validated"]
    for seen in ranks:
        assert seen["targets"] == alone["targets"]
        for name, least in (
            ("weights", 1e-6),
            ("predictions", 1e-6),
            ("validate", 1e-5),
            ("losses", 1e-5),
            ("values", 1e-5),
        ):
            np.testing.assert_allclose(seen[name], alone[name], rtol=least, atol=least, err_msg=name)
        assert seen["values"] == ranks[0]["values"]


@pytest.mark.parametrize("world", [3])
def test_the_world_size_does_not_matter(world, cases) -> None:
    """Each step has the windows of one process; weights, losses and metrics are equal, `get_preds` is in order."""
    together = run_ranks(world, train_all, cases)
    for number, alone in enumerate(train_all(cases)):
        require_alike([rank[number] for rank in together], alone)


def test_a_run_goes_on_with_another_number_of_processes(folder, tmp_path) -> None:
    """Stopped with three ranks by one of them, and with one, it ends with two: each window once, and equal weights."""
    case = {"folder": folder, "epochs": 2, "per_slide": 7, "bs": 4, "flips": True}
    (tmp_path / "alone").mkdir()
    alone = train_part(None, False, {**case, "out": tmp_path / "alone"})
    steps: list[list[str]] = []
    (tmp_path / "elastic").mkdir()
    for world, stop in ((3, 4), (1, 5), (2, None)):
        ranks = run_ranks(world, train_part, stop, bool(steps), {**case, "out": tmp_path / "elastic"})
        assert [rank["stopped"] for rank in ranks] == [stop and "SIGTERM"] * world
        steps += merged(ranks, "steps")
    assert steps == alone["steps"]
    for rank in ranks:
        np.testing.assert_allclose(rank["weights"], alone["weights"], rtol=1e-5, atol=1e-6)
