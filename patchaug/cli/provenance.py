"""What a result depends on: versions, the state of the git repository, and the files of the data."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from patchaug.slides.checksums import states_of

_PACKAGES = ("fastai", "torch", "torchvision", "numpy", "tifffile", "imagecodecs", "openslide-python", "albumentations")


def versions() -> dict[str, str]:
    """Return the versions of Python, patchaug and the libraries that pixels and weights depend on."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "patchaug": sys.modules["patchaug"].__version__,
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Return commit and changes of the git repository of the working folder; None outside one, or without git."""
    try:
        commit, changes = (
            subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.strip(), "changed": [line[3:] for line in changes.splitlines()]}


def data_manifest(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size in bytes and time of the last change in nanoseconds, or ETag, of each file of the data."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        found |= states_of(path)
    return found


def changed_files(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    """List the files that are new, gone or changed between two manifests."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def command_line() -> str:
    """Return the command that runs, with the name of the program instead of its path."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
