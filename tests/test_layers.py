"""A file imports only from packages on floors below its own, and third parties only where the design lets them in."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "patchaug"

FLOORS = {
    "errors": 0,
    "core": 1,
    "readers": 2,
    "slides": 3,
    "sampling": 4,
    "augment": 4,
    "data": 5,
    "predict": 5,
    "viz": 5,
    "options": 5,
    "testing": 5,
    "advise": 6,
    "fastai1": 6,
    "fastai2": 6,
    "cli": 7,
    "fastai": 7,
    "__init__": 8,
    "__main__": 8,
}
LOOSE = {"__init__", "__main__", "errors", "fastai"}
# Packages inside packages. `core.memory` builds on nothing else of `core` but its arrays, validation,
# messages and ranks.
NESTED = {
    "core.memory", "predict.writers", "readers.annotations", "readers.codecs", "readers.remote", "readers.tiff",
    "readers.zarr", "viz.web_page",
}  # fmt: skip
# Third parties that only these packages may import.
ONLY = {
    "torch": {"advise", "data", "predict", "fastai1", "fastai2"},
    "torchvision": {"fastai2"},
    "fastai": {"fastai1", "fastai2", "cli"},
    "pandas": {"data"},
    "fastcore": {"fastai2"},
    "segmentation_models_pytorch": {"fastai2"},
    "tensorboard": {"fastai2"},
    "fasttransform": {"fastai2"},
    "pydantic": {"options"},
    "typer": {"cli"},
    "matplotlib": {"viz"},
    "mpl_toolkits": {"viz"},
    "openslide": {"readers"},
    "imagecodecs": {"predict", "readers", "testing"},
    "safetensors": {"fastai2"},
    "tifffile": {"predict", "readers", "testing"},
    "numcodecs": {"readers"},
    "obstore": {"readers"},
    "google_crc32c": {"readers", "testing"},
    "zarr": set(),
    "PIL": {"predict", "readers", "testing", "viz"},
    "psutil": {"core"},
    "albumentations": {"augment", "testing"},
    "cv2": {"augment", "data"},
    "skimage": {"slides", "core"},
    "shapely": {"predict", "readers"},
    "pyogrio": {"readers", "testing"},
    "pyproj": {"predict", "readers"},
    "rasterio": {"readers"},
    "rich": {"core", "cli"},
    "hypothesis": {"testing"},
    "pytest": {"testing"},
}
# Files that derive random generators for samples, and what else draws random numbers.
GENERATORS = {
    "sampling/plan.py",
    "data/isolated_rng.py",
    "data/item_list.py",  # splits slides as fastai 1 does, before any window is drawn
    "predict/bootstrap.py",  # resamples slides for the intervals of scores
    "augment/measure_padding.py",  # measures pipelines on made pictures
}
FILES = sorted(ROOT.rglob("*.py"))


def name_of(file: Path) -> str:
    """Return the dotted name of a module without "patchaug."; of a package without "__init__"."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(file): file for file in FILES}


def imports(file: Path) -> list[str]:
    """Return the dotted names of all modules that a file imports, at any depth of its code."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            known = [name for name in submodules if name.removeprefix("patchaug.") in MODULES]
            names += known if len(known) == len(submodules) else [module, *known]
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_downwards(file: Path) -> None:
    """Every import names a package on a lower floor, or another file of the same package."""
    package = name_of(file).split(".")[0]
    for name in imports(file):
        parts = name.split(".")
        if parts[0] != "patchaug":
            assert package in ONLY.get(parts[0], {package}), f"{package} may not import {parts[0]}"
        elif len(parts) == 1:
            pytest.fail(f"{file.name} imports the whole package")
        elif parts[1] != package:
            assert FLOORS[parts[1]] < FLOORS[package], f"{package} (floor {FLOORS[package]}) imports {name}"


def test_no_imports_go_in_a_circle() -> None:
    """The files of the whole package can be put in one order; an import of a package stands for its `__init__`."""
    needs = {
        name: {target for one in imports(file) if (target := one.removeprefix("patchaug.")) in MODULES} - {name}
        for name, file in MODULES.items()
    }
    done: set[str] = set()
    while ready := {name for name, below in needs.items() if name not in done and below <= done}:
        done |= ready
    assert not set(needs) - done, f"these files import each other: {sorted(set(needs) - done)}"


def test_files_are_small() -> None:
    """Each file holds one idea, in at most 300 lines."""
    long = {str(f.relative_to(ROOT)): n for f in FILES if (n := len(f.read_text().splitlines())) > 300}
    assert not long


def test_the_house_has_few_rooms() -> None:
    """The tables above name the packages that exist; four files are loose; at most 24 rooms and 9 floors."""
    packages = {name_of(file.parent / "__init__.py") for file in FILES if file.parent != ROOT}
    assert {name.split(".")[0] for name in packages} | LOOSE == set(FLOORS)
    assert {name for name in packages if "." in name} == NESTED
    assert {file.stem for file in ROOT.glob("*.py")} == LOOSE
    assert len(packages | LOOSE - {"__init__", "__main__"}) <= 24
    assert len(set(FLOORS.values())) <= 9


def test_every_package_says_what_it_holds() -> None:
    """Each folder of code is a package with a docstring."""
    for folder in {file.parent for file in FILES}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_random_generators_are_made_in_one_file() -> None:
    """Only the plan derives generators for samples; the demo's slides have their own seed, the tests theirs."""
    words = ("default_rng(", "RandomState(", "random.seed(", "SeedSequence(", "PCG64(")
    makers = {str(f.relative_to(ROOT)) for f in FILES if any(word in f.read_text() for word in words)}
    assert {name for name in makers if not name.startswith("testing/")} <= GENERATORS


def test_the_tests_mirror_the_packages() -> None:
    """Each package but the two that only hold names has a folder of tests."""
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    assert set(FLOORS) - LOOSE <= folders
