"""The example's web application over real HTTP on loopback: two users, one copy of the pixels, one of them stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from patchaug import Foreground, Plan, Slide, open_slide

from .server import made_mask

ROOT = Path(__file__).resolve().parents[2]
SIDE = 10_000  # 300 MB of pixels
WAIT = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A client of the application, and its process."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(SIDE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            port = int(process.stdout.readline())
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as client:
                yield client, psutil.Process(process.pid)
        finally:
            process.kill()


def until(client: httpx.Client, number: int, reached: Callable[[dict], bool]) -> dict:
    """Poll a session until it is where it should be."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        session = client.get(f"/sessions/{number}").raise_for_status().json()
        if reached(session):
            return session
        assert session["state"] == "training", session
        time.sleep(0.05)
    raise AssertionError(f"session {number} is still at {session}")


def memory(process: psutil.Process) -> int:
    """Bytes that the server and its workers have for themselves."""
    return sum(one.memory_full_info().uss for one in [process, *process.children(recursive=True)])


def asked(seed: int, epochs: int, per_slide: int = 20) -> dict:
    """A session as JSON."""
    options = {"size": [64, 48], "per_slide": per_slide, "foreground": 0.5, "seed": seed}
    return {"train": ["a"], "valid": ["b"], "options": options, "epochs": epochs, "bs": 2}


@pytest.fixture(scope="module")
def slide() -> Slide:
    """Size, name and mask of the server's first slide: what its windows follow from."""
    return open_slide(np.broadcast_to(np.uint8(0), (SIDE, SIDE, 3)), made_mask(SIDE), name="a")


def windows(slide: Slide, seed: int, number: int, per_slide: int = 20) -> str:
    """Hash of the first windows of a session, from the plan alone."""
    plan = Plan([slide], Foreground((64, 48), per_slide=per_slide, foreground=0.5), seed=seed)
    return sha256("".join(str(plan[index].window) for index in range(number)).encode()).hexdigest()


def test_two_users_share_the_pixels_and_nothing_else(server, slide) -> None:
    """The second adds less than a tenth of the slide; it is stopped, and the first's windows are as if alone."""
    client, process = server
    first = client.post("/sessions", json=asked(1, 12)).raise_for_status().json()
    assert first["options"]["size"] == [64, 48] and first["of"] == 10
    until(client, first["id"], lambda s: s["epoch"] >= 2)
    alone = memory(process)
    assert alone > 300e6  # the pixels are in there
    second = client.post("/sessions", json=asked(2, 1000)).raise_for_status().json()
    running = until(client, second["id"], lambda s: s["epoch"] >= 1)
    both = memory(process)
    assert both - alone < 0.1 * SIDE * SIDE * 3, f"{both - alone} bytes more"
    assert running["loss"] > 0 and client.get(f"/sessions/{first['id']}").json()["state"] in ("training", "done")
    assert client.delete(f"/sessions/{second['id']}").status_code == 202
    stopped = until(client, second["id"], lambda s: s["state"] == "stopped")
    assert stopped["windows"] == windows(slide, 2, 2 * (10 * stopped["epoch"] + stopped["batch"]))
    done = until(client, first["id"], lambda s: s["state"] == "done")
    assert (done["epoch"], done["batch"]) == (11, 10)
    assert done["windows"] == windows(slide, 1, 12 * 20)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"options": {"size": 64, "per_slied": 3}}, "there is no option 'per_slied'; did you mean per_slide?"),
        ({"options": {"size": 64, "foreground": 2.0}}, "foreground"),
        ({"bs": 1, "options": {"size": 9999}}, "b: a window of 9999 x 9999 px does not fit"),
        ({"options": {}}, "option 'size' is missing"),
        ({"train": ["c"]}, "there is no slide c; slides are a, b"),
        ({"valid": []}, "valid must hold at least one"),
        ({"epoch": 3}, "unknown fields epoch; known are bs, epochs"),
        ({"epochs": -3}, "epochs must be in 1..1000, got -3"),
        ({"epochs": "3"}, "epochs must be a int, got str"),
        ({"train": "a"}, "train must be a list, got str"),
        ({"train": [["a"]]}, "train must be a list of at most 1000 names"),
        ({"options": [1]}, "options must be a dict, got list"),
        ({"options": {"size": 64, "per_slide": 10**9}}, "at most 20,000 windows"),
        ({"bs": 64, "options": {"size": 4096}}, "above the limit of 134,217,728"),
        ({"valid": ["a"], "options": {"size": 8}}, "the grid of the validation slides has"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(server, change: dict, text: str) -> None:
    """422, with the library's own words."""
    answer = server[0].post("/sessions", json={**asked(1, 1), **change})
    assert answer.status_code == 422 and text in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_other_requests(server) -> None:
    """No JSON, no object, no such session."""
    client = server[0]
    assert client.post("/sessions", content=b"{").status_code == 400
    assert client.post("/sessions", json=[1]).status_code == 422
    assert client.get("/sessions/99").status_code == 404 and client.delete("/sessions/99").status_code == 404


def test_sessions_end_and_are_freed(server) -> None:
    """One that is deleted after its end is gone; many add no memory."""
    client, process = server
    numbers = []
    for count in range(12):
        session = client.post("/sessions", json=asked(1, 1, per_slide=2)).raise_for_status().json()
        until(client, session["id"], lambda s: s["state"] == "done")
        numbers.append(session["id"])
        if count == 5:
            before = memory(process)
    assert memory(process) - before < 60e6
    for number in numbers:
        assert client.delete(f"/sessions/{number}").status_code == 202
        assert client.get(f"/sessions/{number}").status_code == 404


def test_a_slide_from_a_stranger_is_checked_in_isolation(tmp_path: Path) -> None:
    """Before the server opens it."""
    from examples.web_session import open_checked
    from patchaug import ReadError
    from patchaug.testing import coordinate_image, write_pyramid

    write_pyramid(tmp_path / "a.tif", [coordinate_image(200, 100)])
    assert open_checked(str(tmp_path / "a.tif")).dimensions == (200, 100)
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:900])
    with pytest.raises(ReadError, match=r"b\.tif: "):
        open_checked(str(tmp_path / "b.tif"))
