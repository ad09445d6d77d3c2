"""Which windows are drawn: frozen samplers, their exact distributions on a slide, and the plan of all epochs.

sampler = Foreground(512, per_slide=64, foreground=0.5)     # describes windows; holds no slide
distribution = sampler.distribution(slide)                  # of windows on one slide
plan = Plan(slides, sampler)                                # draws of all epochs, by index
"""

from __future__ import annotations

from patchaug.sampling.adaptive import Adaptive
from patchaug.sampling.base import NO_HALO, Halo, Sampler, halo_read
from patchaug.sampling.foreground import Foreground
from patchaug.sampling.grid import Grid
from patchaug.sampling.option_table import Balance, Edge, Empty, PerSlide
from patchaug.sampling.uniform import Uniform, count_alone

__all__ = [
    "NO_HALO",
    "Adaptive",
    "Balance",
    "Edge",
    "Empty",
    "Foreground",
    "Grid",
    "Halo",
    "PerSlide",
    "Sampler",
    "Uniform",
    "count_alone",
    "halo_read",
]
