"""The command line as a process: demo and train end to end, and the errors that a user meets."""

import json
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import Plan, Window, open_slide
from patchaug.cli import main
from patchaug.options.fields import TrainOptions
from patchaug.testing.synthetic_slides import write_slide

RESULTS = {
    "model.pkl", "best.pkl", "windows.png", "batch.png", "prediction.png", "curves.png", "report.json", "options.json",
    "history.csv", ".patchaug-run", "model", "best",
}  # fmt: skip
COMMON = ["--images", "images", "--masks", "masks", "--codes", "background,nucleus"]
TINY = ["--per-slide", "8", "--epochs", "1", "--bs", "4", "--size", "64", "--workers", "0", "--level", "1"]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`patchaug ...` in a folder."""
    command = [sys.executable, "-m", "patchaug", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=280)


def run_inside(*words: object, cwd: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `patchaug ...` in this process, which saves the seconds of starting one."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["patchaug", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
    return int(stopped.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/s0..s2.tiff and masks/s0_mask.tiff...: made slides of 768 px."""
    root = tmp_path_factory.mktemp("cli")
    for number in range(3):
        write_slide(root / "images", f"s{number}", size=768, seed=number)
        (root / "masks").mkdir(exist_ok=True)
        (root / "images" / f"s{number}_mask.tiff").rename(root / "masks" / f"s{number}_mask.tiff")
    return root


def train(slides: Path, *arguments: object, out: Path) -> subprocess.CompletedProcess[str]:
    """The README's command, small."""
    return run("train", *COMMON, "--out", out, *TINY, *arguments, cwd=slides)


def test_demo_learns_and_leaves_its_results_and_nothing_else(tmp_path: Path) -> None:
    """The README's main job on smaller slides: slides, learner, pictures, report, and nuclei found on a new slide."""
    done = run("demo", "--out", "out", "--slide-size", 2048, "--per-slide", 256, "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS | {"slides", "maps"}
    assert {path.name for path in (tmp_path / "out" / "maps").iterdir() if path.suffix} == {
        "slide2.ome.tif", "slide2.geojson",
    }  # fmt: skip
    assert re.search(r"\d\d+ nuclei are predicted in .*; opened again as masks, both are the same", done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["seed"] == 42 and report["options"]["size"] == 128 and report["options"]["level"] == 1
    assert set(report["dice"]) == {"background", "nucleus"}
    assert 0.8 < report["dice"]["nucleus"] < 1
    assert report["patches_per_second"] > 0
    for name in ("windows.png", "batch.png", "prediction.png"):
        assert min(Image.open(tmp_path / "out" / name).size) > 300
    assert f"Dice nucleus: {report['dice']['nucleus']:.3f}" in done.stdout


def test_train_scores_what_the_exported_model_predicts(slides: Path, tmp_path: Path) -> None:
    """Dice in the report is that of the exported learner's map of the validation slide, counted by hand."""
    done = train(slides, "--valid-slides", "s2*", out=tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [Path(path).name for path in report["valid"]] == ["s2.tiff"]
    # No terminal: a line before, a line an epoch, and no bar.
    assert re.fullmatch(
        r"each of 1 epochs: 16 training windows in 4 batches, 9 validation windows\n"
        r"epoch 1 of 1: train_loss \S+, valid_loss \S+, slide_dice \S+\n",
        done.stderr,
    ), done.stderr
    low = [code for code, score in report["dice"].items() if score < 0.5]
    assert low == ["nucleus"]  # 4 batches
    text = f'the Dice of "nucleus" on the validation slides is {report["dice"]["nucleus"]:.3f}: 4 batches (16 windows)'
    assert report["remarks"][0].startswith(text) and report["remarks"][0] in done.stdout.splitlines()
    assert (tmp_path / "out" / "model.pkl").stat().st_size < 3e6  # the weights; no activations of the last batch
    from fastai.vision.all import load_learner

    from patchaug.fastai import predict_slide

    slide = open_slide(slides / "images" / "s2.tiff", slides / "masks" / "s2_mask.tiff")
    guess = predict_slide(load_learner(tmp_path / "out" / "model.pkl"), slide)
    truth = slide.read(Window(0, 0, 192, 192, 1)).mask
    for number, code in enumerate(("background", "nucleus")):
        both = ((guess == number) & (truth == number)).sum()
        expected = 2 * both / ((guess == number).sum() + (truth == number).sum())
        assert report["dice"][code] == pytest.approx(expected)


def test_the_same_seed_trains_the_same_model(slides: Path, tmp_path: Path) -> None:
    """A process of its own and this one, 2 and 0 workers: equal reports but for the time."""
    reports = []
    words = ["--valid-slides", "s2*", "--workers"]
    assert train(slides, *words, 2, out=tmp_path / "b").returncode == 0
    assert run_inside("train", *COMMON, "--out", tmp_path / "a", *TINY, *words, 0, cwd=slides)[0] == 0
    for name in ("a", "b"):
        report = json.loads((tmp_path / name / "report.json").read_text())
        del report["options"]["workers"], report["command"], report["written_by"]
        report["history"] = [{k: v for k, v in row.items() if "second" not in k} for row in report["history"]]
        reports.append({key: value for key, value in report.items() if "second" not in key})
    assert reports[0] == reports[1]


def spoil(source: Path, target: Path, change) -> Path:
    """A copy of the slides by links, changed."""
    for kind in ("images", "masks"):
        (target / kind).mkdir(parents=True)
        for path in (source / kind).iterdir():
            (target / kind / path.name).symlink_to(path)
    change(target)
    return target


def replace(path: Path, write) -> None:
    """Put something else in the place of a link."""
    path.unlink()
    write(path)


def no_slides(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()


def one_slide(root: Path) -> None:
    for name in ("s0", "s2"):
        (root / "images" / f"{name}.tiff").unlink()


def no_masks(root: Path) -> None:
    for name in ("s0", "s2"):
        (root / "masks" / f"{name}_mask.tiff").unlink()


def other_size(root: Path) -> None:
    replace(
        root / "masks" / "s1_mask.tiff", lambda p: tifffile.imwrite(p, np.zeros((767, 768), np.uint8), tile=(64, 64))
    )


def bad_class(root: Path) -> None:
    mask = np.zeros((768, 768), np.uint8)
    mask[402, 602] = 9
    replace(root / "masks" / "s1_mask.tiff", lambda p: tifffile.imwrite(p, mask, tile=(64, 64)))


def no_image(root: Path) -> None:
    replace(root / "images" / "s1.tiff", lambda p: p.write_text("not an image"))


@pytest.mark.parametrize(
    ("change", "arguments", "code", "text"),
    [
        (no_slides, [], 1, r"no slides in images; known suffixes are "),
        (no_masks, [], 1, r"2 of 3 slides have no mask in masks: s0.tiff, s2.tiff; a mask is named like"),
        (other_size, [], 1, r"s1.tiff: the image has 768 x 768 px, its mask .* 768 x 767 px; a mask must have"),
        (bad_class, [], 1, r"s1.tiff: the mask holds class 9 at x=150 y=100 of level 1 .*codes name 0 to 1"),
        (no_image, [], 1, r"s1.tiff"),
        (None, ["--size", 500], 1, r"a window of 500 x 500 px does not fit into level 1, which has 192 x 192 px; ask"),
        (None, ["--level", 7], 1, r"there is no level 7; it has levels 0 to 2"),
        (None, ["--foreground", 1.5], 2, r"--foreground: option .foreground. should be less than or equal to 1"),
        (None, ["--valid-slides", "x*"], 2, r"--valid-slides x\*: no slide matches"),
        (None, ["--valid-slides", "*"], 2, r"--valid-slides leaves 0 slides for training and 3 for validation of 3"),
        (one_slide, [], 2, r"one slide cannot be split: the split is by slide, .* add a slide, or cut a large one"),
        (None, ["--arch", "resnet19"], 2, r"there is no encoder 'resnet19'; take 'small' or one of torchvision"),
        (None, ["--ram", "much"], 2, r"ram must be .auto., a number of bytes, or a size"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:12],
)
def test_errors_are_one_line(
    slides: Path, tmp_path: Path, change, arguments: list, code: int, text: str, monkeypatch, capsys
) -> None:
    """File, value and cure, no traceback, nothing written, before any training. In this process: torch is loaded.

    Where several slides are wrong, a line each.
    """
    root = spoil(slides, tmp_path / "data", change or (lambda root: None))
    monkeypatch.chdir(root)
    monkeypatch.setattr(
        sys, "argv", ["patchaug", "train", *COMMON, "--out", str(tmp_path / "out"), *TINY, *map(str, arguments)]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == code, lines
    assert len(lines) == 1 or (lines[0].endswith("slides cannot be used:") and all(x[:2] == "- " for x in lines[1:]))
    assert re.match(f"patchaug: .*{text}", " ".join(lines)), lines
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_error_of_a_process_is_one_line_too(slides: Path, tmp_path: Path) -> None:
    """Exit code 1, nothing on stdout."""
    done = train(spoil(slides, tmp_path / "data", no_masks), out=tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("patchaug: 2 of 3 slides have no mask")


def test_an_unknown_flag_names_the_nearest(slides: Path) -> None:
    """Exit code 2, as for all wrong use."""
    done = run("train", "--imagse", "x", cwd=slides)
    assert done.returncode == 2 and "--images" in done.stderr


def test_the_options_of_a_run_start_it_again(slides: Path, tmp_path: Path) -> None:
    """From another folder, without any other flag, to the same windows and scores; a flag wins over the file."""
    words = ["--valid-slides", "s2*", "--foreground", 0.25, "--seed", 7, "--out", tmp_path / "a"]
    assert run_inside("train", *COMMON, *TINY, *words, cwd=slides)[0] == 0
    again = run("train", "--options", tmp_path / "a" / "options.json", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)  # nothing else is printed
    first = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["dice"] == first["dice"] and report["valid"] == [str(slides / "images" / "s2.tiff")]
    assert Image.open(tmp_path / "a" / "windows.png") == Image.open(tmp_path / "patchaug-run" / "windows.png")
    sample = ["show", "--options", tmp_path / "a" / "options.json", "--index", 11, "--json"]
    replayed = json.loads(run_inside(*sample, cwd=tmp_path)[1])
    options = TrainOptions.from_file(tmp_path / "a" / "options.json")
    pairs = [(slides / "images" / f"s{n}.tiff", slides / "masks" / f"s{n}_mask.tiff") for n in range(2)]
    plan = Plan([open_slide(*pair) for pair in pairs], options.samplers().train, seed=7)
    assert replayed["window"] == asdict(plan[11].window) and replayed["slide"] == f"s{plan[11].slide}.tiff"
    assert json.loads(run_inside(*sample, "--seed", 8, cwd=tmp_path)[1])["window"] != replayed["window"]


def test_ctrl_c_keeps_what_was_trained(slides: Path, tmp_path: Path) -> None:
    """One line, exit code 1, a model that loads and a report that says how far it came; nothing half written."""
    words = ["--valid-slides", "s2*", "--epochs", "500", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "patchaug", "train", *COMMON, *TINY, *words]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are told to ignore it
    with subprocess.Popen(
        [*map(str, command)], cwd=slides, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        try:
            assert process.stderr is not None
            while not (line := process.stderr.readline()).startswith("epoch 2 of 500"):
                assert line, "ended before its second epoch"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 1 and "Traceback" not in err
    assert re.search(r"stopped after \d+ of 500 epochs; results are in .*out; go on with: patchaug train --resume", out)
    kept = RESULTS - {"prediction.png", "best.pkl", "best"} | {"checkpoint.pt", "best.pt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == kept
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["interrupted"] and 2 <= report["epochs_done"] < 500
    from fastai.vision.all import load_learner

    assert load_learner(tmp_path / "out" / "model.pkl").dls.vocab == ["background", "nucleus"]


def test_remarks_name_what_was_not_learnt() -> None:
    """And a cure that fits: more training, or, after much of it, a look at the pictures."""
    from patchaug.cli.run_figures import remarks

    dice = {"ground": 0.99, "nucleus": 0.0, "vessel": None, "fat": 0.49}
    few, many = remarks(dice, 16, 128), remarks(dice, 1000, 8000)
    assert [line.split(chr(34))[1] for line in few] == [line.split(chr(34))[1] for line in many] == ["nucleus", "fat"]
    assert all("16 batches (128 windows) are few" in line and "--epochs" in line for line in few)
    assert all("batch.png" in line and "few" not in line for line in many)
    assert remarks({"a": 0.5, "b": None}, 1, 1) == []


def test_a_terminal_gets_a_bar(slides: Path, tmp_path: Path) -> None:
    """The same command on a pseudo terminal: the bar goes away, the lines stay."""
    import os
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "patchaug", "train", *COMMON, *TINY, "--out", tmp_path / "out"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    with subprocess.Popen(
        [*map(str, command)], cwd=slides, stdout=subprocess.DEVNULL, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 4096):
                seen += part
        except OSError:  # Linux says so when the other side is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    text = seen.decode()
    assert "training, patches" in text and "epoch 1 of 1: train_loss" in text
