"""Examples in docstrings: what they may use, and how they run."""

import ast
import contextlib
import doctest
import importlib
import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import patchaug
from patchaug.testing.coordinate_slides import coordinate_image, coordinate_mask
from patchaug.testing.synthetic_slides import write_slide

from .blocks import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
CODES = ["background", "nucleus"]


def write_files(folder: Path) -> None:
    """Write slides/slide0.tiff to slide2.tiff, 512 x 512 px, and their masks."""
    for number in range(3):
        write_slide(folder / "slides", f"slide{number}", size=512, seed=number)


def _pairs() -> list[tuple[Path, Path]]:
    return [(Path(f"slides/slide{n}.tiff"), Path(f"slides/slide{n}_mask.tiff")) for n in range(3)]


def _slide(name: str = "case") -> patchaug.Slide:
    return patchaug.open_slide(coordinate_image(512, 512), coordinate_mask(512, 512, 1, 2), name=name, codes=CODES)


def _loaders() -> Any:
    from patchaug import PatchOptions
    from patchaug.fastai import SlideDataBunch, SlideItemList

    if "SlideBlock" in dir(importlib.import_module("patchaug.fastai")):
        from patchaug.fastai2 import SlideDataLoaders

        pairs = _pairs()
        options = PatchOptions(64, per_slide=4, foreground=0.5)
        return SlideDataLoaders.from_lists(train=pairs[:2], valid=pairs[2:], codes=CODES, options=options, bs=2)
    assert SlideDataBunch
    return (
        SlideItemList.from_folder("slides", patch=PatchOptions(64, per_slide=4, foreground=0.5))
        .split_by_rand_pct(0.34, seed=42)
        .label_from_func(lambda image: image.with_name(f"{image.stem}_mask.tiff"), classes=CODES)
        .databunch(bs=2, num_workers=0)
    )


def _learner() -> Any:
    if "SlideBlock" in dir(importlib.import_module("patchaug.fastai")):
        from fastai.vision.all import unet_learner

        from patchaug.fastai import small_encoder  # a resnet18 takes seconds an example

        return unet_learner(_loaders(), small_encoder, pretrained=False, last_cross=False)
    from fastai.vision import models
    from fastai.vision import unet_learner as learner

    return learner(_loaders(), models.resnet18, pretrained=False)


# Made only for the examples that use the name.
BUILDERS: dict[str, Callable[[], Any]] = {
    "image": lambda: coordinate_image(512, 512),
    "mask": lambda: coordinate_mask(512, 512, 1, 2),
    "slide": _slide,
    "slides": lambda: [_slide(f"case{number}") for number in range(3)],
    "pairs": _pairs,
    "path": lambda: Path("slides"),
    "codes": lambda: list(CODES),
    "dls": _loaders,
    "learn": _learner,
}


@cache
def examples(fastai1: bool) -> list[doctest.DocTest]:
    """Collect the docstrings with an example: those of fastai 1's package, or all the others."""
    found = []
    for path in sorted((ROOT / "patchaug").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if (".fastai1" in module) == fastai1 and ">>>" in path.read_text():
            found += [_parsed(module, path, name, node) for name, node in _documented(ast.parse(path.read_text()))]
    return [one for one in found if one.examples]


def _documented(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, ast.Module):
        yield "", tree
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{prefix}{node.name}", node
            yield from _documented(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _documented(node, prefix)


def _parsed(module: str, path: Path, name: str, node: Any) -> doctest.DocTest:
    line = node.body[0].lineno - 1 if node.body else 0
    title = f"{module}.{name}".rstrip(".")
    return doctest.DocTestParser().get_doctest(ast.get_docstring(node) or "", {}, title, str(path), line)


def run_example(test: doctest.DocTest) -> None:
    """Run the examples of one docstring; the error shows what differs."""
    source = "".join(one.source for one in test.examples)
    space = {"np": np, "Path": Path, **{name: getattr(patchaug, name) for name in patchaug.__all__}}
    space |= vars(_module_of(test.name))
    space |= {
        name: build() for name, build in BUILDERS.items() if re.search(rf"(?<![.\w]){name}\b(?!\s*=[^=])", source)
    }
    test.globs = {**space, "__name__": "__main__"}
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    with contextlib.redirect_stderr(io.StringIO()):
        failed = runner.run(test, out=report.write).failed
    assert not failed, report.getvalue()


def _module_of(name: str) -> Any:
    while True:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            name = name.rpartition(".")[0]
