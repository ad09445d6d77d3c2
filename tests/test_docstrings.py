"""Docstrings of functions start with a verb, and every public name has an example that runs.

How to write an example: put a doctest at the end of the docstring, and use the name that it explains.

    Examples:
        >>> window = Window(10, 20, 64, 32)
        >>> window.width
        64

`tests/docs/test_examples.py` runs it under fastai 2; `tests/fastai1/test_docs.py` runs those of `patchaug.fastai1`.

- Each docstring starts in a fresh namespace: the names of its module, all of `patchaug.__all__`, and those of
  `tests/docs/examples.py`: `np`, `Path`, `image`, `mask`, `slide`, `slides`, `path`, `pairs`, `codes`, `dls`, `learn`.
- The working directory is a fresh folder with `slides/slide0.tiff` to `slides/slide2.tiff` and their masks.
- `...` stands for any output, and the amount of white space is free.
- A name of another library (`get_transforms` of fastai 1) has its example as a python block of docs/reference.md.

`python -m tests.test_docstrings` prints what is missing.
"""  # noqa: D214 - the section is quoted

import pytest

from .docs.public import definitions, has_example, public_names
from .docs.verbs import starts_with_a_verb

VERBS_AT_LEAST = 0.95
EXAMPLES_AT_LEAST = 0.9


def without_verb() -> tuple[float, list[str]]:
    """Share of docstrings of functions and methods that start with a verb, and a line for each of the others."""
    functions = [one for one in definitions() if one.kind == "function"]
    bad = [one for one in functions if one.docstring and not starts_with_a_verb(one.docstring)]
    written = [one for one in functions if one.docstring]
    lines = [f"{one.where}: {(one.docstring or '').splitlines()[0]}" for one in bad]
    return 1 - len(bad) / len(written), lines


def without_example() -> tuple[float, list[str]]:
    """Share of public names with an example, and the names without one."""
    names = public_names()
    bad = [f"{module}.{name}" for (module, name), text in names.items() if not has_example(name, text)]
    return 1 - len(bad) / len(names), bad


def test_functions_start_with_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """In the imperative or the third person; properties and classes may start with a noun."""
    share, bad = without_verb()
    with capsys.disabled():
        print(f"\ndocstrings of functions that start with a verb: {share:.3f}")
    assert share >= VERBS_AT_LEAST, "\n".join(bad)


def test_public_names_have_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """In the docstring, or on the reference page."""
    share, bad = without_example()
    with capsys.disabled():
        print(f"\npublic names with an example: {share:.3f}")
    assert share >= EXAMPLES_AT_LEAST, "\n".join(bad)


@pytest.mark.parametrize(
    "text", ["Return the hash.", "Returns tiles.", "Temporarily set it.", "Hash the name.", "Pass it on"]
)
def test_verbs_are_found(text: str) -> None:
    """Imperative and third person."""
    assert starts_with_a_verb(text)


@pytest.mark.parametrize(
    "text",
    [
        "Number of windows.",
        "Whether it is.",
        "The mask.",
        "Hash of the name.",
        "Windows of a slide.",
        "What",
        "Share, 0 to 1",
    ],
)
def test_nouns_are_not_verbs(text: str) -> None:
    """Nouns, articles and question words fail."""
    assert not starts_with_a_verb(text)


if __name__ == "__main__":
    for title, (share, lines) in {"verb first": without_verb(), "example": without_example()}.items():
        print(f"{title}: {share:.3f}; without:", *lines, sep="\n  ")
