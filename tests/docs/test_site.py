"""The documents build as a site without a warning, and the site loads nothing from other machines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the site is built in the tox environment `docs`")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, or take the one that the tox environment has built, strictly."""
    if built := os.environ.get("BUILT_SITE"):
        return Path(built)
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def test_pages_load_nothing_from_outside(site: Path) -> None:
    """Scripts, styles, fonts and pictures have no address of another machine."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="([^"]+)"', text)
        loaded += [tag for tag in re.findall(r"<link[^>]+>", text) if "canonical" not in tag]
        assert not [one for one in loaded if re.search(r"(https?:)?//", one)], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", style.read_text()), style.name


def test_pages_link_to_the_repository_and_ask_it_nothing(site: Path) -> None:
    """The theme's own link runs a script that asks GitHub for the number of stars."""
    for page in ("index.html", "contributing.html", "changelog.html", "notebooks/tour.html"):
        text = (site / page).read_text()
        assert 'href="https://github.com/patchaug/patchaug"' in text
        assert 'data-md-component="source"' not in text


def test_long_signatures_wrap(site: Path) -> None:
    """One argument a line."""
    text = re.sub(r"<[^>]+>", "", (site / "reference.html").read_text())
    signature = text[text.index("open_slide(") :]
    assert signature.startswith("open_slide(\n    image")


def test_the_reference_has_every_public_name(site: Path) -> None:
    """The names of patchaug and of patchaug.fastai that a user writes."""
    import patchaug

    text = (site / "reference.html").read_text()
    ids = {found.rpartition(".")[2] for found in re.findall(r'id="(patchaug\.[\w.]+)"', text)}
    assert {name for name in patchaug.__all__ if name != "__version__"} <= ids
    wanted = {
        "SlideBlock",
        "SlideMaskBlock",
        "RandomPatch",
        "PatchDL",
        "SlideDataLoaders",
        "predict_slide",
        "write_page",
    }
    assert wanted <= ids
