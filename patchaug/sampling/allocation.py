"""How many windows each of some slides gets: a number each, or a total shared out by area, tissue or foreground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heapify, heapreplace

from patchaug.core.validation import Small, sides
from patchaug.errors import OptionError, PatchaugError, collected
from patchaug.sampling import NO_HALO, Adaptive, Foreground, Halo, Sampler, Uniform, count_alone
from patchaug.sampling.distributions import MixtureDistribution, UniformComponent, WindowDistribution, WindowDomain
from patchaug.slides.resolution import SlideTooSmallError
from patchaug.slides.slide import Slide, id_of
from patchaug.slides.tissue import TISSUE, tissue_labels


def distributions_of(
    sampler: Sampler, slides: Sequence[Slide], halo: Halo = NO_HALO, *, small: Small = "raise"
) -> list[WindowDistribution]:
    """Return the distribution of windows on each of the slides, which share the windows of an epoch.

    With small="skip" a slide that is smaller than the window has no windows.

    Raises:
        PatchaugError: As `distribution` of the sampler; one error names all slides that it refuses.
        OptionError: There are fewer windows to share out than slides.
    """
    laws: list[WindowDistribution] = []
    errors: list[PatchaugError] = []
    for slide in slides:
        try:
            laws.append(_alone(sampler, slide, halo, small))
        except PatchaugError as error:
            errors.append(error)
    if errors:
        raise collected(errors, len(slides))
    if not isinstance(sampler, (Uniform, Foreground, Adaptive)) or isinstance(sampler.per_slide, int):
        return laws
    # A slide that the sampler skips takes no part.
    chosen = {k: law for k, law in enumerate(laws) if law.count and isinstance(law, MixtureDistribution)}
    sizes = {k: _amount(slides[k], law.domain, sampler) for k, law in chosen.items()}
    counts = shared_out(count_alone(sampler), list(sizes.values()), [id_of(slides[k].name) for k in chosen])
    for (k, law), count in zip(chosen.items(), counts, strict=True):
        laws[k] = replace(law, count=count)
    return laws


def _alone(sampler: Sampler, slide: Slide, halo: Halo, small: Small) -> WindowDistribution:
    """Return the distribution on one slide; that of a small slide which is skipped draws nothing."""
    try:
        return sampler.distribution(slide, halo)
    except SlideTooSmallError:
        if small == "raise":
            raise
        width, height = slide.dimensions
        nothing = WindowDomain(0, 1, 1, width, height, 0, 0)
        return MixtureDistribution(nothing, 0, UniformComponent(nothing))


def _amount(slide: Slide, domain: WindowDomain, sampler: Uniform | Foreground | Adaptive) -> int:
    """Pixels of a slide, or of its tissue or classes, at the resolution of the patches, whichever level is read."""
    height, width = sides(sampler.size)
    if sampler.per_slide == "area":
        left, top, right, bottom = slide.bounds(domain.level) if domain.bounds is None else domain.bounds
        pixels = (right - left) * (bottom - top)
    elif sampler.per_slide == "foreground" and isinstance(sampler, Foreground):
        pixels = sampler.foreground_pixels(slide, domain.level)
    else:
        pixels = tissue_labels(slide, domain.level).count_within(TISSUE, slide.bounds(domain.level))
    return pixels * height * width // (domain.height * domain.width)


def shared_out(total: int, amounts: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Share a total out in proportion to some amounts: the method of largest remainders (Hamilton), in integers.

    Each gets one at least, taken from who has most, so that no slide is lost in silence. Ties go by id: the order of
    the slides does not matter.

    Raises:
        OptionError: The total is less than the number of those who share it.
    """
    if total < len(amounts):
        raise OptionError(
            f"windows={total} cannot be shared out among {len(amounts)} slides; ask for one each at least"
        )
    whole = sum(amounts)
    if whole == 0:
        amounts, whole = [1] * len(amounts), len(amounts)
    counts = [total * amount // whole for amount in amounts]
    by_remainder = sorted(range(len(ids)), key=lambda k: (-(total * amounts[k] % whole), ids[k]))
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    richest = [(-count, -ids[k], k) for k, count in enumerate(counts)]
    heapify(richest)
    for k in range(len(counts)):
        if counts[k] == 0:
            count, by_id, most = richest[0]
            counts[most] -= 1
            heapreplace(richest, (count + 1, by_id, most))
            counts[k] = 1  # never the richest: that has two at least
    return counts
