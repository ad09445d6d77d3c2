"""The candidate that is recommended, and what the data cannot decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from patchaug.advise.interval import Interval
from patchaug.advise.measurements import Measured
from patchaug.advise.short_training import Scored, dice_interval, difference_interval, training_deviation

_NOTHING = 0.1  # Dice below which nothing was learnt
_FEW = 3  # validation slides below which nothing is known of others


@dataclass(frozen=True)
class Recommendation:
    """What is recommended.

    Attributes:
        measured: The candidate.
        dice: Dice of each trained candidate, by name.
        behind: Dice of each other trained candidate less that of the recommended one, by name.
        undecided: Names of the candidates that the data cannot tell from it.
        sentences: The recommendation in two sentences.
        doubts: What the data cannot decide, a sentence each.
    """

    measured: Measured
    dice: dict[str, Interval]
    behind: dict[str, Interval]
    undecided: list[str]
    sentences: tuple[str, str]
    doubts: list[str]


def choose_for_training(every: Sequence[Measured], number: int, seconds: float) -> list[Measured]:
    """Choose candidates by what they promise: the best of each size first, then the best of the others.

    Args:
        every: Measured candidates.
        number: Candidates to choose.
        seconds: Time of each training.
    """
    order = sorted(every, key=lambda one: -one.promise(seconds))
    best_of_size = {one.candidate.size: one for one in reversed(order)}
    first = [one for one in order if one is best_of_size[one.candidate.size]]
    rest = [one for one in order if one not in first]
    return (first + rest)[:number]


def recommend(
    every: Sequence[Measured], trained: Sequence[Scored], *, valid_slides: int, seconds: float
) -> Recommendation:  # fmt: skip
    """Choose the candidate with the best Dice; without trainings, the one that promises most.

    Args:
        every: Measured candidates, at least one.
        trained: Those of them that were trained, with their counts.
        valid_slides: Number of validation slides.
        seconds: Time of a training, also of one that is only planned.
    """
    known = [one for one in trained if not math.isnan(one.dice)]
    if not trained:
        return _by_promise(
            every, seconds, "No candidate was trained, so that no Dice was measured; give more --minutes."
        )
    if not known:
        return _by_promise(every, seconds, "No validation pixel is labelled as foreground, so that no Dice exists.")
    if max(one.dice for one in known) < _NOTHING:
        why = f"Trainings of {seconds:.3g} s are too short: the best Dice is {max(one.dice for one in known):.3f}."
        return _by_promise(every, seconds, why + " Give more --minutes.")
    deviation = training_deviation(known)
    best = max(known, key=lambda one: one.dice)
    dice = {one.candidate.name: dice_interval(one, deviation) for one in known}
    behind = {one.candidate.name: difference_interval(one, best, deviation) for one in known if one is not best}
    undecided = [name for name, one in behind.items() if not one.high < 0]
    measured = next(one for one in every if one.candidate == best.candidate)
    number = len(best.counts)
    first = (
        f"Train on patches of {_words(measured)} in batches of {measured.batch}: with {_seconds(best)} of training "
        f"they reach a Dice of {dice[best.candidate.name]}, "
        + (f"the best of {len(known)} candidates." if len(known) > 1 else "and no other candidate was trained.")
    )
    doubts = []
    if undecided:
        doubts.append(
            f"The data cannot decide between {best.candidate.name} and {' or '.join(undecided)}: the interval of the "
            f"difference holds 0; more --minutes, or more validation slides, may."
        )
    if math.isnan(deviation):
        doubts.append("Each candidate was trained once, so that the intervals leave out the chance of the training.")
    if valid_slides < _FEW:
        doubts.append(
            f"{valid_slides} validation slide{'s' if valid_slides > 1 else ''} cannot show how scores vary between "
            f"slides: the intervals are over {len(best.units)} blocks"
            + (f" and {number} seeds." if number > 1 else ".")
        )
    return Recommendation(measured, dice, behind, undecided, (first, _cost(measured)), doubts)


def _by_promise(every: Sequence[Measured], seconds: float, why: str) -> Recommendation:
    best = max(every, key=lambda one: one.promise(seconds))
    first = (
        f"Start with patches of {_words(best)} in batches of {best.batch}: of {len(every)} candidates they promise "
        f"most, by context, whole objects, resolution and the area that a training sees."
    )
    return Recommendation(best, {}, {}, [], (first, _cost(best)), [why])


def _cost(one: Measured) -> str:
    """Describe what the recommended patches cost and hold, in one sentence."""
    cut = [value.value for value in one.cut.values() if not math.isnan(value.value)]
    objects = f", {sum(cut) / len(cut):.0%} of the objects in them are cut" if cut else ""
    return (
        f"A step takes {one.step.value:.3g} s, the largest batch is {one.largest_batch}, the network sees "
        f"{one.effective_field:.0%} of a patch with nearly full context{objects}, and {one.grid} windows show the "
        f"training slides once."
    )


def _words(one: Measured) -> str:
    candidate = one.candidate
    return f"{candidate.size} x {candidate.size} px at {candidate.resolution}"


def _seconds(best: Scored) -> str:
    return f"{sum(best.seconds) / len(best.seconds):.3g} s"
