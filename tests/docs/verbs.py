"""Whether a docstring starts with a verb; `verbs.txt` holds the words."""

from pathlib import Path


def _read_words() -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    section = ""
    for line in Path(__file__).with_name("verbs.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif not line.startswith("#"):
            words.setdefault(section, set()).update(line.split())
    return words


_WORDS = _read_words()


def _third_person(verb: str) -> str:
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


_IMPERATIVE = _WORDS["verbs"] | _WORDS["noun too"]
_THIRD = {_third_person(verb): verb for verb in _IMPERATIVE}


def starts_with_a_verb(docstring: str) -> bool:
    """Return True where the first word of a docstring is a verb, in the imperative or the third person."""
    words = [word.lower() for word in docstring.split()[:3]] + ["", ""]
    if words[0] in _WORDS["adverbs"]:
        words = words[1:]
    first, second = words[0].rstrip(",.:;"), words[1]
    if first in _WORDS["plurals"]:
        return False
    verb = first if first in _IMPERATIVE else _THIRD.get(first)
    if verb in _WORDS["noun too"]:
        return second not in _WORDS["after a noun"] and not words[0].endswith((",", ":", ";"))
    return verb is not None
