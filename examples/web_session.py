"""Training sessions behind a small web application: users train on slides that the server already holds in RAM.

    uvicorn --factory examples.web_session:demo

    POST   /sessions        {"train": ["a"], "valid": ["b"], "options": {"size": 128, "per_slide": 16}, "epochs": 3}
    GET    /sessions/1      {"state": "training", "epoch": 1, "batch": 7, "of": 12, "loss": 0.31, ...}
    DELETE /sessions/1      stops it after the batch that is being trained on; an ended one is forgotten

What a session may cost is bounded before it starts (`LIMITS`): windows, pixels of a batch, epochs, seconds, sessions at
a time. A body of a wrong type is one 422. A session that has ended frees its model and its loaders.

Each session is a thread with its own options, plan and model. All of them read the same open slides: a window is a
copy of a few kilobytes, a slide is never copied, and where its labels are is found out once. Windows are a function of
seed, epoch, slide and draw and hang on no state that sessions could share, so what one user does moves no window of
another. Random *item* transforms are another matter: they draw from the process's global generators, which are seeded
for each item, one item at a time. With sessions in threads leave them out, or give each session a process.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import threading
import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

from fastai.vision.all import Callback, CancelFitException, Learner, unet_learner
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from patchaug import PatchaugError, PatchOptions, ReadError, Slide, Window, open_slide
from patchaug.fastai import SlideDataLoaders
from patchaug.fastai2.encoders import small_encoder
from patchaug.slides.isolated import check_isolated
from patchaug.testing.synthetic_slides import write_slide

_FIELDS = {"train": list, "valid": list, "options": dict, "epochs": int, "bs": int}
LIMITS = {"epochs": 1000, "bs": 64, "windows": 20_000, "pixels": 128 << 20, "seconds": 3600, "running": 8, "ended": 100}


class Session:
    """One user's training, in a thread of its own.

    Attributes:
        state: "training", "done", "stopped" or "failed".
        epoch, batch, of: Where it is: epoch, batches trained on in it, and batches in an epoch.
        loss: Loss of the last batch.
        windows: Hash of all windows trained on so far, in order.
        error: What went wrong, where the state is "failed".
    """

    def __init__(self, number: int, slides: Mapping[str, Slide], codes: list[str], asked: Mapping[str, Any]) -> None:
        _require_types(asked)
        if missing := [n for side in ("train", "valid") for n in asked.get(side, []) if n not in slides]:
            raise ValueError(f"there is no slide {', '.join(missing)}; slides are {', '.join(slides)}")
        self.options = PatchOptions(**asked.get("options", {}))
        self.number, self.epochs, batch_size = number, asked.get("epochs", 1), asked.get("bs", 4)
        _require_modest(
            self.options, batch_size, *([slides[n] for n in asked.get(side, [])] for side in ("train", "valid"))
        )
        # An open slide with a mask is its own label.
        pairs = ([(slides[name], slides[name]) for name in asked.get(side, [])] for side in ("train", "valid"))
        # No workers: the pixels are in this process, and reading a window is copying some rows of an array.
        dls = SlideDataLoaders.from_lists(*pairs, codes=codes, options=self.options, bs=batch_size, num_workers=0)
        self.learn: Learner | None = unet_learner(
            dls, small_encoder, n_out=len(codes), pretrained=False, cbs=Reporter(self)
        )
        self.end = time.monotonic() + LIMITS["seconds"]
        self.state, self.epoch, self.batch, self.of = "training", 0, 0, len(dls.train)
        self.loss: float | None = None
        self.windows, self.error, self.stopping = hashlib.sha256(), "", threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"session {number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        learn, self.learn = self.learn, None  # freed when this thread ends
        assert learn is not None
        try:
            with learn.no_bar(), learn.no_logging():
                learn.fit(self.epochs)
            self.state = "done" if (self.epoch, self.batch) == (self.epochs - 1, self.of) else "stopped"
        except Exception as error:
            self.state, self.error = "failed", " ".join(f"{type(error).__name__}: {error}".split())

    def as_json(self) -> dict[str, Any]:
        """What a user sees."""
        return {
            "id": self.number, "state": self.state, "epoch": self.epoch, "batch": self.batch, "of": self.of,
            "loss": self.loss, "windows": self.windows.hexdigest(), "error": self.error,
            "options": self.options.model_dump(mode="json"),
        }  # fmt: skip


class Reporter(Callback):
    """Tells the session where its training is, and ends it when asked to."""

    run_valid = False

    def __init__(self, session: Session) -> None:
        self.session = session

    def after_batch(self) -> None:
        """Note the batch."""
        session, loader, size = self.session, self.dls.train, len(self.xb[0])
        first = self.epoch * loader.n + self.iter * loader.bs
        for index in range(first, first + size):
            session.windows.update(str(loader.plan[index].window).encode())
        session.epoch, session.batch, session.loss = self.epoch, self.iter + 1, float(self.loss)
        if time.monotonic() > session.end:
            session.error = f"stopped after {LIMITS['seconds']} s, the limit of a session"
            session.stopping.set()
        if session.stopping.is_set():
            raise CancelFitException


def _require_types(asked: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that is unknown, of a wrong type, or out of its limits."""
    if unknown := set(asked) - set(_FIELDS):
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}; known are {', '.join(sorted(_FIELDS))}")
    for name, value in asked.items():
        kind = _FIELDS[name]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits:
            raise ValueError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
        if kind is int and not 1 <= value <= LIMITS[name]:
            raise ValueError(f"{name} must be in 1..{LIMITS[name]}, got {str(value)[:20]}")
        if isinstance(value, list) and (len(value) > 1000 or not all(isinstance(one, str) for one in value)):
            raise ValueError(f"{name} must be a list of at most 1000 names of slides")


def _require_modest(options: PatchOptions, batch_size: int, train: list[Slide], valid: list[Slide]) -> None:
    """Raise ValueError for more windows, or more pixels in a batch, than a session may have."""
    height, width = options.size if isinstance(options.size, tuple) else (options.size, options.size)
    if batch_size * height * width > LIMITS["pixels"]:
        raise ValueError(f"a batch of {batch_size} x {height} x {width} px is above the limit of {LIMITS['pixels']:,}")
    steps = [max(side - options.overlap, 1) for side in (width, height)]
    cells = [math.prod(-(-length // step) for length, step in zip(one.dimensions, steps, strict=True)) for one in valid]
    if not isinstance(options.per_slide, int) or options.per_slide * len(train) > LIMITS["windows"]:
        raise ValueError(
            f"per_slide x slides must be at most {LIMITS['windows']:,} windows, got {options.per_slide!r} each"
        )
    if sum(cells) > LIMITS["windows"]:
        raise ValueError(
            f"the grid of the validation slides has {sum(cells):,} windows, the limit is {LIMITS['windows']:,}"
        )


def open_checked(image: str, mask: str | None = None, **options: Any) -> Slide:
    """Open a slide from a stranger: a process of its own decodes some tiles first, and may end with them.

    Raises:
        ReadError: The check found a problem.
    """
    problems = check_isolated(image, sample=64, seconds=60)["problems"]
    if problems:
        raise ReadError(f"{image}: {problems[0]}")
    return open_slide(image, mask, **options)


def application(slides: Mapping[str, Slide], codes: list[str]) -> Starlette:
    """The application over some slides in memory.

    Args:
        slides: Open slides with masks, by name; opened on arrays, they are in memory once, for all sessions.
        codes: Names of the masks' classes.
    """
    sessions: dict[int, Session] = {}
    numbers = itertools.count(1)

    def create(asked: Any) -> JSONResponse:
        try:
            if not isinstance(asked, dict):
                raise ValueError("a session is described by a JSON object")
            if sum(one.state == "training" for one in sessions.values()) >= LIMITS["running"]:
                return JSONResponse({"error": f"{LIMITS['running']} sessions are running; try again later"}, 429)
            session = Session(next(numbers), slides, codes, asked)
        except (PatchaugError, ValueError, TypeError) as error:
            return JSONResponse({"error": " ".join(str(error).split())}, 422)
        sessions[session.number] = session
        ended = [number for number, one in sessions.items() if one.state != "training"]
        for number in ended[: -LIMITS["ended"]]:
            sessions.pop(number, None)
        return JSONResponse(session.as_json(), 201)

    async def post(request: Request) -> JSONResponse:
        try:
            asked = await request.json()
        except ValueError:
            return JSONResponse({"error": "the body is not JSON"}, 400)
        return await run_in_threadpool(create, asked)  # it builds a model: others are served meanwhile

    def get(request: Request) -> JSONResponse:
        session = sessions.get(request.path_params["number"])
        return JSONResponse({"error": "no such session"}, 404) if session is None else JSONResponse(session.as_json())

    def delete(request: Request) -> JSONResponse:
        session = sessions.get(request.path_params["number"])
        if session is None:
            return JSONResponse({"error": "no such session"}, 404)
        session.stopping.set()
        if session.state != "training":
            del sessions[session.number]
        return JSONResponse(session.as_json(), 202)

    return Starlette(
        routes=[
            Route("/sessions", post, methods=["POST"]),
            Route("/sessions/{number:int}", get, methods=["GET"]),
            Route("/sessions/{number:int}", delete, methods=["DELETE"]),
        ]
    )


def demo() -> Starlette:
    """The application over two made slides of 2048 x 2048 px."""
    codes, slides = ["background", "nucleus"], {}
    for number, name in enumerate("ab"):
        with TemporaryDirectory() as folder:
            image, mask = open_slide(*write_slide(folder, name, size=2048, seed=number)).read(Window(0, 0, 2048, 2048))
        slides[name] = open_slide(image, mask, name=name, codes=codes)
    return application(slides, codes)
