"""Training sessions behind a small web application: users train on slides that the server already holds in RAM.

    uvicorn --factory examples.web_session:demo

    POST   /sessions        {"train": ["a"], "valid": ["b"], "options": {"size": 128, "per_slide": 16}, "epochs": 3}
    GET    /sessions/1      {"state": "training", "epoch": 1, "batch": 7, "of": 12, "loss": 0.31, ...}
    DELETE /sessions/1      stops it after the batch that is being trained on

Each session is a thread with its own options, plan and model. All of them read the same open slides: a window is a
copy of a few kilobytes, a slide is never copied, and where its labels are is found out once. Windows are a function of
seed, epoch, slide and draw and hang on no state that sessions could share, so what one user does moves no window of
another. Random *item* transforms are another matter: they draw from the process's global generators, which are seeded
for each item, one item at a time. With sessions in threads leave them out, or give each session a process.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

from fastai.vision.all import Callback, CancelFitException, Learner, unet_learner
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from patchaug import PatchaugError, PatchOptions, Slide, Window, open_slide
from patchaug.fastai import SlideDataLoaders
from patchaug.fastai2.encoders import small_encoder
from patchaug.testing.synthetic_slides import write_slide

_FIELDS = {"train", "valid", "options", "epochs", "bs"}


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
        if unknown := set(asked) - _FIELDS:
            raise ValueError(f"unknown fields {', '.join(sorted(unknown))}; known are {', '.join(sorted(_FIELDS))}")
        if missing := [n for side in ("train", "valid") for n in asked.get(side, []) if n not in slides]:
            raise ValueError(f"there is no slide {', '.join(missing)}; slides are {', '.join(slides)}")
        self.options = PatchOptions(**asked.get("options", {}))
        self.number, self.epochs = number, int(asked.get("epochs", 1))
        # An open slide with a mask is its own label.
        pairs = ([(slides[name], slides[name]) for name in asked.get(side, [])] for side in ("train", "valid"))
        # No workers: the pixels are in this process, and reading a window is copying some rows of an array.
        dls = SlideDataLoaders.from_lists(
            *pairs, codes=codes, options=self.options, bs=int(asked.get("bs", 4)), num_workers=0
        )
        self.learn: Learner = unet_learner(dls, small_encoder, n_out=len(codes), pretrained=False, cbs=Reporter(self))
        self.state, self.epoch, self.batch, self.of = "training", 0, 0, len(dls.train)
        self.loss: float | None = None
        self.windows, self.error, self.stopping = hashlib.sha256(), "", threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"session {number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with self.learn.no_bar(), self.learn.no_logging():
                self.learn.fit(self.epochs)
            self.state = "done" if (self.epoch, self.batch) == (self.epochs - 1, self.of) else "stopped"
        except Exception as error:
            self.state, self.error = "failed", f"{type(error).__name__}: {error}"

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
        if session.stopping.is_set():
            raise CancelFitException


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
            session = Session(next(numbers), slides, codes, asked)
        except (PatchaugError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 422)
        sessions[session.number] = session
        return JSONResponse(session.as_json(), 201)

    async def post(request: Request) -> JSONResponse:
        try:
            asked = await request.json()
        except ValueError:
            return JSONResponse({"error": "the body is no JSON"}, 400)
        return await run_in_threadpool(create, asked)  # it builds a model: others are served meanwhile

    def get(request: Request) -> JSONResponse:
        session = sessions.get(request.path_params["number"])
        return JSONResponse({"error": "no such session"}, 404) if session is None else JSONResponse(session.as_json())

    def delete(request: Request) -> JSONResponse:
        session = sessions.get(request.path_params["number"])
        if session is None:
            return JSONResponse({"error": "no such session"}, 404)
        session.stopping.set()
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
