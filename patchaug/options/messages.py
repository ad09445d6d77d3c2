"""What is wrong with options, in one line: where it came from, the path of the key, the value, the right name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from patchaug.core.validation import RENAMED


def describe(error: ValidationError, names: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """Describe all problems that pydantic reports, in one clause for each option.

    Args:
        error: What it found.
        names: The options that there are.
        origins: Where an option's value came from, such as "run.json" or "--size"; absent for arguments.
    """
    by_option = groupby(error.errors(), key=lambda problem: str((problem["loc"] or ("options",))[0]))
    clauses = []
    for name, problems in by_option:
        origin = origins.get(name)
        clauses.append((f"{origin}: " if origin else "") + _clause(name, list(problems), names))
    return "; ".join(clauses)


def unknown_option(name: str, names: Mapping[str, Any]) -> str:
    """Describe an unknown option: name the nearest one, or all."""
    if name in RENAMED and RENAMED[name] in names:
        return f"option {name!r} is now called {RENAMED[name]!r}"
    near = get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.5)
    cure = f"did you mean {near[0]}?" if near else f"options are {', '.join(names)}"
    return f"there is no option {name!r}; {cure}"


def _clause(name: str, problems: list[Any], names: Mapping[str, Any]) -> str:
    """What is wrong with one option; one that may be of several types has a problem with each."""
    first = problems[0]
    if first["type"] == "extra_forbidden":
        return unknown_option(name, names)
    if first["type"] == "missing":
        return f"option {name!r} is missing"
    # Of several types, those count that came furthest: a list of one bad class is no bad mapping.
    depth = max(len(_inside(problem["loc"])) for problem in problems)
    furthest = [problem for problem in problems if len(_inside(problem["loc"])) == depth]
    first = furthest[0]
    place = _inside(first["loc"])
    wanted = dict.fromkeys(
        problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ").replace("valid tuple", "pair")
        for problem in furthest
        if _inside(problem["loc"]) == place
    )
    path = name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return f"option {path!r} should be {', or '.join(wanted)}, got {first['input']!r}"


def _inside(loc: tuple[int | str, ...]) -> list[int | str]:
    """The steps below the option: without the names of types that pydantic puts between for unions."""
    return [step for step in loc[1:] if isinstance(step, int) or not _is_type(step)]


def _is_type(step: str) -> bool:
    words = ("int", "float", "str", "bool", "none", "[key]", "constrained-int", "constrained-str", "constrained-float")
    return step in words or step.startswith(("literal[", "dict[", "list[", "tuple[", "function-"))
