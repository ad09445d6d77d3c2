"""A file imports only from floors below its own, and third parties only where the design lets them in."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "patchaug"

FLOORS = {
    "errors": 0,
    "geometry": 0.1,
    "shared": 0.1,
    "colours": 0.1,
    "progress": 0.1,
    "checks": 0.5,
    "ram": 0.5,
    "rasters": 1,
    "synthetic": 1,
    "files": 1.5,
    "alignment": 1.5,
    "runs": 1.5,
    "foreground": 2,
    "resample": 1.5,
    "laws": 2.5,
    "indexing": 2.5,
    "restricted": 2.7,
    "slide": 3,
    "resolution": 3.5,
    "scores": 3.5,
    "overview": 3.5,
    "tissue": 3.7,
    "samplers": 4,
    "augment": 4,
    "sharing": 4.5,
    "replaced": 0.5,
    "manifest": 1.5,
    "check": 5,
    "plan": 5,
    "rng": 0.5,
    "splits": 5.5,
    "seen": 5,
    "handles": 6,
    "words": 6.5,
    "stitch": 6,
    "predict": 6.5,
    "exported": 6,
    "dataset": 6,
    "slots": 6,
    "fastai1": 7,
    "fastai2": 7,
    "fastai": 8,
    "settings": 7,
    "options": 7.5,
    "show": 6.8,
    "page": 7.5,
    "training": 8,
    "cli": 9,
    "__main__": 10,
    "__init__": 10,
    "testing": 11,
}
# Inside rooms with several files, in the order in which they build on each other.
INSIDE = {
    "augment": ["tables", "reach", "apply", "padding", "pipelines", "__init__"],
    "rasters": [
        *("base", "handles", "file", "nameless", "lent", "array", "arena", "store", "tiled", "codestream", "packed"),
        *("tiffheader", "tiff", "origins", "vendor", "image"),
        *("zarrstore", "zarrcodecs", "zarrmeta", "ngff", "zarrchunks", "zarr", "opening"),
        *("scan", "features", "geojson", "asap", "classes", "polygons", "masks", "__init__"),
    ],
    "fastai1": ["repairs", "loader", "labels", "items", "evaluate", "__init__"],
    "fastai2": [
        "crop",
        "arch",
        "randompatch",
        "sending",
        "loader",
        "items",
        "factory",
        "itemlist",
        "evaluate",
        "guards",
        "__init__",
    ],
    "page": ["tiles", "__init__"],
    "samplers": ["common", "grid", "random", "__init__"],
    "settings": ["texts", "files", "problems", "model", "__init__"],
    "show": ["figure", "sheet", "heat", "windows", "patches", "prediction", "density", "augment", "batch", "__init__"],
    "cli": ["common", "pairs", "train", "demo", "show", "check", "schema", "bench", "__init__"],
    "testing": ["coordinates", "strategies", "augmenting", "contract", "__init__"],
}
# Third parties that only these rooms may import.
ONLY = {
    "torch": {"dataset", "slots", "rng", "predict", "fastai1", "fastai2"},
    "torchvision": {"fastai2"},
    "fastai": {"fastai1", "fastai2", "training"},
    "pandas": {"words"},
    "fastcore": {"fastai2"},
    "fasttransform": {"fastai2"},
    "pydantic": {"settings", "options"},
    "typer": {"cli"},
    "matplotlib": {"show"},
    "mpl_toolkits": {"show"},
    "openslide": {"rasters"},
    "imagecodecs": {"rasters"},
    "tifffile": {"rasters", "synthetic", "testing"},
    "numcodecs": {"rasters"},
    "google_crc32c": {"rasters"},
    "zarr": set(),
    "PIL": {"rasters", "page"},
    "psutil": {"ram"},
    "albumentations": {"augment", "testing"},
    "cv2": {"augment"},
    "skimage": {"tissue", "resample"},
    "shapely": {"rasters"},
    "rich": {"progress", "cli"},
    "hypothesis": {"testing"},
    "pytest": {"testing"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(file: Path) -> list[str]:
    """Dotted names of all modules that a file imports, at any depth of its code."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.append(node.module or "")
    return found


def room_of(file: Path) -> str:
    """The first part of a file's name below the package."""
    return file.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_downwards(file: Path) -> None:
    """Every import of the package names a room on a lower floor, or an earlier file of the same room."""
    room = room_of(file)
    for name in imports(file):
        parts = name.split(".")
        if parts[0] != "patchaug":
            assert room in ONLY.get(parts[0], {room}), f"{room} may not import {parts[0]}"
        elif len(parts) == 1:
            pytest.fail(f"{file.name} imports the whole package")
        elif parts[1] == room and room in INSIDE:
            order = INSIDE[room]
            assert order.index(parts[2]) < order.index(file.stem), f"{file.name} imports {name}"
        else:
            assert FLOORS[parts[1]] < FLOORS[room], f"{room} (floor {FLOORS[room]}) imports {name}"


def test_files_are_small() -> None:
    """One idea a file: none is longer than 300 lines."""
    long = {str(f.relative_to(ROOT)): n for f in FILES if (n := len(f.read_text().splitlines())) > 300}
    assert not long


def test_every_room_has_a_floor() -> None:
    """The table above names just the rooms that exist."""
    assert {room_of(file) for file in FILES} == set(FLOORS)
    for room, names in INSIDE.items():
        assert {file.stem for file in FILES if room_of(file) == room and file.parent != ROOT} == set(names)


def test_random_generators_are_made_in_one_file() -> None:
    """Only the plan derives generators for samples; the demo's slides have their own seed, the tests theirs."""
    makers = {
        room_of(file)
        for file in FILES
        if any(
            word in file.read_text()
            for word in ("default_rng(", "RandomState(", "random.seed(", "SeedSequence(", "PCG64(")
        )
    }
    # "words" splits slides as fastai 1 does, before any window is drawn; "augment" measures pipelines on made pictures.
    assert makers <= {"plan", "synthetic", "testing", "rng", "words", "augment"}
    assert not [
        f.stem for f in FILES if room_of(f) == "augment" and "default_rng(" in f.read_text() and f.stem != "padding"
    ]
