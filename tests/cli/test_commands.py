"""The commands that need no fastai, help, pictures, schema, measurements, exit codes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from patchaug import PatchOptions, open_slide
from patchaug.augment import histology
from patchaug.cli import app, main
from patchaug.options.fields import TrainOptions
from patchaug.testing.synthetic_slides import write_slide

NAMES = [command.callback.__name__ for command in app.registered_commands]


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`patchaug ...` in this process, which saves the seconds of starting one."""

    def call(*arguments: object, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["patchaug", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Done(int(stopped.value.code or 0), *capsys.readouterr())

    return call


def run(*arguments: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`patchaug ...` in a folder."""
    command = [sys.executable, "-m", "patchaug", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "100", **environ}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with s.tiff and s_mask.tiff, 1024 px."""
    root = tmp_path_factory.mktemp("slides")
    write_slide(root, "s", size=1024, seed=1)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_each_help_has_an_example_and_no_colour_without_a_terminal(name: str, tmp_path: Path, here) -> None:
    """And a line for every option."""
    done = here(name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"Example: patchaug {name}" in done.stdout and "\x1b" not in done.stdout
    assert not re.findall(r"<[a-z]+[>\[|]", done.stdout)  # values, not types of Python
    assert not re.findall(r"│ --([a-z-]+) +(?i:\1)\b", done.stdout)  # nor the name of the option again
    options = {
        "train": TrainOptions,
        "schema": None,
        "check": None,
        "advise": None,
        "stats": None,
        "predict": None,
        "evaluate": None,
    }.get(name, PatchOptions)
    for option in options.model_fields if options else ():
        assert f"--{option.replace('_', '-')} " in done.stdout


def test_the_version_and_completion_are_offered(tmp_path: Path, here) -> None:
    """The version is that of the package."""
    import patchaug

    assert here("--version", cwd=tmp_path).stdout == f"patchaug {patchaug.__version__}\n"
    assert "--install-completion" in here("--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("arguments", [["--help"], ["schema"]])
def test_help_loads_neither_torch_nor_matplotlib(arguments: list[str], tmp_path: Path) -> None:
    """Nor fastai."""
    command = [sys.executable, "-X", "importtime", "-m", "patchaug", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 0 and "numpy" in loaded and not loaded & {"torch", "fastai", "matplotlib", "skimage"}


def test_schema_is_that_of_the_model(tmp_path: Path, here) -> None:
    """And is JSON, and nothing else."""
    assert json.loads(here("schema", cwd=tmp_path).stdout) == PatchOptions.model_json_schema()
    assert json.loads(here("schema", "--run", cwd=tmp_path).stdout) == TrainOptions.model_json_schema()


@pytest.mark.parametrize("what", ["windows", "density", "coverage"])
def test_show_draws_a_picture(what: str, slides: Path, tmp_path: Path, here) -> None:
    """Of the slide, its mask and the options given; one line says where."""
    words = ["--mask", slides / "s_mask.tiff", "--size", 64, "--foreground", 0.5, "--epochs", 2, "--what", what]
    done = here("show", slides / "s.tiff", *words, "--out", "view.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote view.png\n"), done.stderr
    assert min(Image.open(tmp_path / "view.png").size) > 400


def test_show_writes_a_page_for_the_browser(slides: Path, tmp_path: Path, here) -> None:
    """With the windows that the options draw; what it does in a browser is tested in tests/browser."""
    done = here("show", slides / "s.tiff", "--size", 64, "--html", "--epochs", 2, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote view.html\n"), done.stderr
    assert "s.tiff" in (tmp_path / "view.html").read_text()


def test_show_draws_augmentation(slides: Path, tmp_path: Path, here) -> None:
    """Of a ready pipeline or a file of albumentations, at the halo asked for: the picture of `show_augment`."""
    alb = pytest.importorskip("albumentations", reason="the extra `augment` is not installed")
    from patchaug.viz import show_augment

    words = ["show", slides / "s.tiff", "--mask", slides / "s_mask.tiff", "--size", 64, "--seed", 3, "--out", "a.png"]
    done = here(*words, "--augment", "histology", "--draws", 3, "--index", 2, "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {
        "out": "a.png", "slide": "s.tiff", "what": "augment", "pipeline": "histology", "index": 2
    }  # fmt: skip
    slide = open_slide(slides / "s.tiff", slides / "s_mask.tiff")
    sampler = PatchOptions(64, per_slide=64).samplers().train
    show_augment(slide, sampler, histology(), draws=3, index=2, seed=3, out=tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    alb.save(alb.Compose([alb.Rotate((-180, 180), p=1)]), tmp_path / "turn.json")
    done = here(*words, "--augment", "turn.json", "--halo", 20, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote a.png\n"), done.stderr
    show_augment(slide, sampler, alb.Rotate((-180, 180), p=1), halo=20, seed=3, out=tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    for wrong, text in (
        (["--augment", "histolgy"], "no pipeline"),
        (["--augment", "aerial", "--html"], "remove --html"),
    ):
        assert text in here(*words, *wrong, cwd=tmp_path).stderr


def test_show_replays_a_sample(slides: Path, tmp_path: Path, here) -> None:
    """Index and seed as in an error message."""
    done = here("show", slides / "s.tiff", "--size", 64, "--seed", 3, "--index", 70, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["slide"], found["epoch"], found["window"]["width"]) == ("s.tiff", 1, 64)
    pixels = np.asarray(Image.open(tmp_path / "view.png"))
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100


def test_show_replays_a_sample_of_an_augmented_run(slides: Path, tmp_path: Path, here) -> None:
    """The window lies where that of the training lay, which left room for the rotation."""
    pytest.importorskip("albumentations")
    (tmp_path / "data").mkdir()
    for name in ("s", "t"):
        for suffix in (".tiff", "_mask.tiff"):
            shutil.copy(slides / f"s{suffix}", tmp_path / "data" / f"{name}{suffix}")
    run = TrainOptions(
        size=64, per_slide=8, images=str(tmp_path / "data"), codes=["background", "nucleus"], valid_slides=["t*"],
        seed=3, augment="histology",
    )  # fmt: skip
    run.save(tmp_path / "options.json")
    slide = open_slide(slides / "s.tiff", slides / "s_mask.tiff", codes=run.codes)
    plan = run.samplers(run.pipeline()).plan("train", [slide], seed=3, shuffle=True)
    other = run.samplers().plan("train", [slide], seed=3, shuffle=True)
    for index in (0, 11):
        done = here("show", "--options", "options.json", "--index", index, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["window"]
        assert (found["x"], found["y"]) == (plan[index].window.x, plan[index].window.y), done.stderr
        assert plan[index].window != other[index].window


def test_bench_measures(slides: Path, tmp_path: Path, here) -> None:
    """Rates that fit together."""
    done = here("bench", slides / "s.tiff", "--size", 128, "--seconds", 0.3, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["patches"] > 0 and found["draws_per_second"] > 0 and found["median_ms"] <= found["p95_ms"]
    assert found["mpx_per_second"] == pytest.approx(found["patches_per_second"] * 128**2 / 1e6)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["show", "none.tiff"], 1, "none.tiff"),
        (["show"], 2, "give a slide, as in"),
        (["show", "--index", "3"], 2, "needs the --options of its run"),
        (["show", "s.tiff", "--foreground", "2"], 2, "option 'foreground' should be less than or equal to 1"),
        (["show", "s.tiff", "--options", "no.json"], 1, "there is no file no.json"),
        (["show", "s.tiff", "--out", "no/view.png"], 1, "there is no folder no"),
        (["bench", "s.tiff", "--seconds", "nan"], 2, "--seconds must be above 0, got nan"),
        (["show", "model.pkl"], 2, "model.pkl is not a slide; it is a model: patchaug predict model.pkl"),
        (["bench", "options.json"], 2, "options.json is not a slide; options of a run are given by --options"),
        (["schema", "--rnu"], 2, "--run"),
        (["shwo"], 2, "show"),
    ],
)
def test_wrong_use_is_2_and_failure_1(arguments: list[str], code: int, text: str, slides: Path, here) -> None:
    """With what was wrong on stderr, and nothing on stdout."""
    done = here(*arguments, cwd=slides)
    assert (done.returncode, done.stdout) == (code, "") and text in done.stderr and "Traceback" not in done.stderr


def test_variables_are_read_and_errors_are_json_for_machines(slides: Path) -> None:
    """PATCHAUG_FOREGROUND=2 is told like --foreground 2."""
    done = run("show", "s.tiff", "--json", cwd=slides, PATCHAUG_FOREGROUND="2")
    text = "PATCHAUG_FOREGROUND: option 'foreground' should be less than or equal to 1, got 2.0"
    assert done.returncode == 2 and json.loads(done.stdout) == {"error": text, "kind": "OptionError"}
    assert done.stderr == f"patchaug: {text}\n"


def test_check_says_how_many_pixels_a_pipeline_invents(tmp_path: Path, here) -> None:
    """By name, or from albumentations' own file; with its halo none."""
    alb = pytest.importorskip("albumentations", reason="the extra `augment` is not installed")
    done = here("check", "--padding", "histology", "--size", 96, cwd=tmp_path)
    assert done.returncode == 0 and "0.00% of the pixels are invented" in done.stdout
    alb.save(alb.Compose([alb.Rotate((-180, 180), p=1)]), tmp_path / "turn.json")
    done = here("check", "--padding", tmp_path / "turn.json", "--size", 64, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["padded"] == 0 < 0.05 < found["cropped"] and found["halo"] == [14, 14]
    (tmp_path / "none.json").write_text("{}")
    for arguments, text, code in [
        (("--padding", "histolgy"), "no pipeline or file is named 'histolgy'; ready-made pipelines are histology", 1),
        (("--padding", tmp_path / "none.json"), "is not a file of albumentations.save", 2),
        ((), "name slides or folders to check, or a pipeline", 2),
    ]:
        done = here("check", *arguments, cwd=tmp_path)
        assert done.returncode == code and text in done.stderr


def test_training_without_fastai_names_what_to_install(tmp_path: Path) -> None:
    """In one line, and no folder is left."""
    for name in "ab":
        write_slide(tmp_path, name, size=512)
    code = (
        "import sys; sys.modules['fastai'] = sys.modules['torch'] = None\n"
        "from patchaug.cli import main; sys.argv[0] = 'patchaug'; main()"
    )
    words = ["train", "--images", ".", "--masks", ".", "--codes", "background,nucleus", "--size", "64"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    text = 'patchaug: this command needs fastai, which is not installed: pip install "patchaug[fastai]"\n'
    assert (done.returncode, done.stderr, done.stdout) == (1, text, "")
    assert not (tmp_path / "patchaug-run").exists()
