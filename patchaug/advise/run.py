"""The whole of `patchaug advise`: measure all candidates, train the best few for equal times, and recommend one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from patchaug.advise.candidate import Candidate
from patchaug.advise.edge_error import EdgeError, measure_edge_error
from patchaug.advise.measurements import Measured, Network, measure_candidate
from patchaug.advise.recommendation import Recommendation, choose_for_training, recommend
from patchaug.advise.short_training import Scored, Train, train_and_score
from patchaug.advise.validation import Block, choose_blocks
from patchaug.errors import OptionError
from patchaug.options.fields import TrainOptions
from patchaug.slides.slide import Slide

# Steps of a training, candidates, trainings of each with different seeds: the first that the time allows.
_SCHEMES = (
    (100, 4, 2), (100, 3, 2), (60, 4, 1), (60, 2, 2), (40, 3, 1), (20, 2, 1), (10, 1, 1)
)  # fmt: skip
_MEASURING = 0.12  # of the time, for steps, and as much for reading
_VALIDATION = 0.25  # of the time of a training
_FORWARD = 0.5  # of a step: what a prediction takes, with joining its windows
_SIDE = 512  # of a block, pixels
_PIXELS = 2**22  # of the blocks, at most
_PLANNED = 600.0  # seconds of a training that is only planned


@dataclass
class Advice:
    """What was measured, and what follows.

    Attributes:
        every: Measurements of the candidates that fit.
        trained: Candidates that were trained.
        edges: Error at the border by resolution.
        left_out: Why other candidates were not measured, by name.
        blocks: Blocks of the validation slides on which trainings were scored.
        seconds: Time of each training; 0 where none was.
        recommendation: What is recommended.
    """

    every: list[Measured]
    left_out: dict[str, str]
    trained: list[Scored] = field(default_factory=list)
    edges: dict[str, EdgeError] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    seconds: float = 0.0
    recommendation: Recommendation | None = None


def run_advice(
    network: Network, train: Train, train_slides: Sequence[Slide], valid_slides: Sequence[Slide],
    options: TrainOptions, candidates: Sequence[Candidate], left_out: dict[str, str], *, memory: float,
    batch: int | None, minutes: float, started: float, say: Callable[[str], object] = lambda text: None,
) -> Advice:  # fmt: skip
    """Run the measurements and trainings, and recommend a candidate.

    Args:
        network: The model, and where it runs.
        train: Trains a learner of that model.
        train_slides: Training slides, with masks.
        valid_slides: Validation slides, with masks.
        options: Options of the training, but for size, level, mpp and batch.
        candidates: What is compared.
        left_out: Why others are not, by name.
        memory: Bytes of memory for a step.
        batch: Windows in a batch of any size, or None.
        minutes: Time of everything; 0 trains nothing.
        started: `time.monotonic()` when it began.
        say: Called with a line for each step.

    Raises:
        OptionError: No candidate's step fits into the memory.
    """
    finest = min(candidates, key=lambda one: one.level).level if candidates[0].mpp is None else 0
    blocks = choose_blocks(valid_slides, finest, _SIDE, _PIXELS, options.seed)
    advice = Advice([], dict(left_out))
    each = min(max(_MEASURING * 60 * minutes / len(candidates), 0.1), 2.0) if minutes else 0.5
    for number, candidate in enumerate(candidates):
        found: Measured | str = _too_large(candidate, advice.every, memory) or measure_candidate(
            candidate, network, train_slides, valid_slides, blocks, options, memory=memory, batch=batch, seconds=each,
        )  # fmt: skip
        if isinstance(found, str):
            advice.left_out[candidate.name] = found
        else:
            advice.every.append(found)
        say(f"measured {number + 1} of {len(candidates)}: {candidate.name}")
    if not advice.every:
        name, why = next(reversed(advice.left_out.items()))
        raise OptionError(f"no candidate fits: {name}: {why}; give more --memory, smaller --sizes, or another model")
    if minutes:
        left = 60 * minutes - (time.monotonic() - started)
        _train(advice, network, train, valid_slides, options, finest, left, say)
    elif options.init is not None:
        largest = {one.candidate.resolution: one for one in advice.every}
        for one in largest.values():
            given = train(one.candidate, one.batch, 0.0, options.seed)
            _add_edge(advice, given.learn, one.candidate, valid_slides, blocks[: max(len(blocks) // 4, 1)])
    advice.recommendation = recommend(
        advice.every, advice.trained, valid_slides=len(valid_slides), seconds=advice.seconds or _PLANNED
    )
    return advice


def _too_large(candidate: Candidate, every: Sequence[Measured], memory: float) -> str | None:
    """Return the reason not to measure a candidate where smaller ones tell that it is far too large."""
    smaller = [one for one in every if one.candidate.size < candidate.size]
    if not smaller:
        return None
    one = max(smaller, key=lambda measured: measured.candidate.size)
    needed = one.memory.fixed + one.memory.per_image * (candidate.size / one.candidate.size) ** 2
    if needed <= 1.5 * memory:
        return None
    return f"a step of one patch would need {needed / 1e9:.3g} GB, by that of {one.candidate.size} px"


def _train(
    advice: Advice, network: Network, train: Train, valid_slides: Sequence[Slide], options: TrainOptions, finest: int,
    left: float, say: Callable[[str], object],
) -> None:  # fmt: skip
    """Train the best few within the time that is left."""
    for steps, number, trainings in _SCHEMES:
        seconds = left / (number * trainings * (1 + _VALIDATION) + 0.3 * number)
        chosen = choose_for_training(advice.every, number, max(seconds, 1.0))
        slowest = max(one.batch / one.windows_a_second for one in chosen)
        if number <= len(advice.every) and seconds >= steps * slowest:
            break
    else:
        say(f"{max(left, 0):.0f} s are left, too few for a training of {steps} steps; give more --minutes")
        return
    advice.seconds = seconds
    pixels = _VALIDATION * seconds / (_FORWARD * max(_seconds_a_pixel(one, valid_slides, finest) for one in chosen))
    advice.blocks = choose_blocks(valid_slides, finest, _SIDE, min(pixels, _PIXELS), options.seed)
    advice.trained = [Scored(one.candidate, one.batch) for one in chosen]
    for training in range(trainings):
        for scored in advice.trained:
            say(f"training {training + 1} of {trainings}, {seconds:.1f} s: {scored.candidate.name}")
            train_and_score(
                scored, train, valid_slides, advice.blocks, len(options.codes), seconds, options.seed + training
            )  # fmt: skip
    largest = {
        one.candidate.resolution: one for one in sorted(advice.trained, key=lambda one: one.candidate.size)
    }  # fmt: skip
    some = advice.blocks[: max(len(advice.blocks) // 4, 1)]
    for scored in largest.values():
        _add_edge(advice, scored.learn, scored.candidate, valid_slides, some)


def _add_edge(
    advice: Advice, learn: Any, candidate: Candidate, slides: Sequence[Slide], blocks: Sequence[Block]
) -> None:  # fmt: skip
    edge = measure_edge_error(learn, slides, blocks, candidate)
    if len(edge.added):
        advice.edges[candidate.resolution] = edge


def _seconds_a_pixel(one: Measured, slides: Sequence[Slide], finest: int) -> float:
    """Return the seconds of a step for each pixel of the blocks' level."""
    slide, candidate = slides[0], one.candidate
    ratio = slide.level_size(candidate.level)[0] / slide.level_size(finest)[0] if candidate.mpp is None else 1.0
    return one.step.value / (one.batch * candidate.size**2) * ratio**2
