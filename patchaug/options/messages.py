"""What is wrong with options, in one line: where it came from, the path of the key, the value, the right name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from patchaug.core.validation import RENAMED


def describe(
    error: ValidationError, names: Mapping[str, Any], origins: Mapping[str, str], flags: str | None = None
) -> str:
    """Describe all problems that pydantic reports, in one clause for each option.

    Args:
        error: The problems.
        names: The options that there are.
        origins: Where an option's value came from, such as "run.json" or "--size"; absent for arguments.
        flags: What stands before the names of flags, "--" or "--patch-"; None where there are no flags.
    """
    by_option = groupby(error.errors(), key=lambda problem: str((problem["loc"] or ("options",))[0]))
    clauses = []
    for name, problems in by_option:
        origin = origins.get(name)
        clause = _clause(name, list(problems), names)
        if flags is not None and clause.endswith(" is missing"):
            clause = f"option {name!r} ({flag_of(name, flags)}) is missing"
        clauses.append((f"{origin}: " if origin else "") + clause)
    return "; ".join(clauses)


def with_flags(text: str, names: Mapping[str, Any], flags: str) -> str:
    """Add to an error the flags of the options that it names and that have other names as flags."""
    words = dict.fromkeys(re.findall(r"[a-z_]+", text))
    named = [flag_of(word, flags) for word in words if word in names and flag_of(word, flags) not in text]
    return f"{text} (as flags: {', '.join(named)})" if named else text


def flag_of(name: str, flags: str = "--") -> str:
    """Return the flag of an option."""
    return f"{flags}{name.replace('_', '-')}"


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
