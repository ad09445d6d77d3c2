"""Public names and docstrings of the package, read from the source, so that no environment matters."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .blocks import ROOT, blocks

PACKAGE = ROOT / "patchaug"
REFERENCE = ROOT / "docs" / "reference.md"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Public(NamedTuple):
    """One public function, method, property or class."""

    where: str
    """Module, line and qualified name."""
    kind: str
    """`function`, `property` or `class`; methods are functions."""
    docstring: str | None


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list}


def _definitions(body: list[ast.stmt], module: str, prefix: str = "") -> Iterator[Public]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            inner = [*node.body, *node.orelse]
            yield from _definitions(inner, module, prefix)
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        where = f"{module}:{node.lineno} {prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield Public(where, "class", ast.get_docstring(node))
            yield from _definitions(node.body, module, f"{prefix}{node.name}.")
            continue
        marks = _decorators(node)
        if marks & {"overload", "override", "setter"}:
            continue
        kind = "property" if marks & {"property", "cached_property"} else "function"
        yield Public(where, kind, ast.get_docstring(node))


def definitions() -> Iterator[Public]:
    """Yield each public definition of each public module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.stem != "__init__" and any(part.startswith("_") for part in parts):
            continue
        yield from _definitions(ast.parse(path.read_text()).body, ".".join(parts))


def _source(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def docstring_of(module: str, name: str) -> str | None:
    """Find the docstring of a name, through re-exports; None where another library defines the name."""
    path = _source(module)
    if path is None:
        return None
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, Definition) and node.name == name and node in tree.body:
            return ast.get_docstring(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == name for one in node.names):
            original = next(one.name for one in node.names if (one.asname or one.name) == name)
            return docstring_of(node.module or "", original)
    return None


def _all(module: str) -> list[str]:
    path = _source(module)
    assert path is not None
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(one) for one in ast.literal_eval(node.value)]
    raise AssertionError(f"{module} has no list __all__")


def public_names() -> dict[tuple[str, str], str | None]:
    """Map (module, name) to the docstring: both fastai packages, `patchaug`, and the reference page."""
    pairs = [(module, name) for module in ("patchaug", "patchaug.fastai2", "patchaug.fastai1") for name in _all(module)]
    for dotted in re.findall(r"^::: ([\w.]+)$", REFERENCE.read_text(), re.M):
        module, _, name = dotted.rpartition(".")
        path = _source(dotted)
        if path is None:
            pairs.append((module, name))
        else:
            body = ast.parse(path.read_text()).body
            pairs += [(dotted, n.name) for n in body if isinstance(n, Definition) and not n.name.startswith("_")]
    found = {}
    known = set()
    for module, name in pairs:
        text = docstring_of(module, name)
        if (name, text) not in known:
            known.add((name, text))
            found[module, name] = text
    return found


def has_example(name: str, docstring: str | None) -> bool:
    """Return True where a doctest of the docstring, or a block of the reference page that runs, uses the name."""
    lines = [line for line in (docstring or "").splitlines() if re.match(r"\s*(>>>|\.\.\.) ", line)]
    lines += [block.code for block in blocks(REFERENCE) if block.runs_in and block.language == "python"]
    return any(re.search(rf"\b{name}\b", line) for line in lines)
