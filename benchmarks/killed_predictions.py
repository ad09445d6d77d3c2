"""Kill `patchaug predict` at random moments, go on with --resume, and compare the files with those of an unbroken run.

Run: python benchmarks/killed_predictions.py --kills 30 [--shards 3]

A model and two slides of random blocks are made. Each trial runs the command in a forked process, ends it by SIGKILL
after a random time (every second trial also the run that resumes), looks that no file under a final name differs from
the unbroken run's, and resumes until the command succeeds. It prints a line for each trial, and ends with exit code 1
if a file differed. With --shards N, N shards run at once (by bands, as there are two slides); one of them is killed,
and resumed alone.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import tifffile
import torch
from fastai.vision.all import unet_learner

from patchaug import PatchOptions
from patchaug.cli import main as run_command
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import decoder_options, small_encoder
from patchaug.fastai2.model_folder import save_model

FORMATS = "ome.tif,geojson,csv,areas.csv,probabilities.ome.tif"


def make(root: Path, side: int) -> None:
    """Write slides/a.tif and b.tif and model/."""
    (root / "slides").mkdir()
    for seed, name in enumerate("ab"):
        small = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
        image = np.kron(small, np.ones((16, 16, 1), np.uint8))
        tifffile.imwrite(root / "slides" / f"{name}.tif", image, tile=(256, 256), photometric="rgb")
    options = PatchOptions(64, overlap=16)
    image, mask = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128), np.uint8)
    dls = SlideDataLoaders.from_lists(
        [(image, mask)], [(image.copy(), mask)], codes=["rest", "cell"], options=options, bs=1, num_workers=0, path=root
    )
    torch.manual_seed(0)
    learn = unet_learner(dls, small_encoder, pretrained=False, n_out=2, path=root, **decoder_options("small"))
    save_model(learn, root / "model", arch="small", options=options)


def start(root: Path, out: Path, *words: str) -> int:
    """Run the command in a forked process, which saves the seconds of its imports; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(root)
        sys.stdout = sys.stderr = (root / "log").open("a")
        sys.argv = ["patchaug", "predict", "model", "slides", "--out", str(out), "--formats", FORMATS,
                    "--batch-size", "4", "--workers", "0", "--device", "cpu", *words]  # fmt: skip
        run_command()
    except SystemExit as stop:
        sys.stdout.flush()
        os._exit(int(stop.code or 0))
    finally:
        os._exit(99)


def ended(child: int, after: float | None = None) -> tuple[int, bool]:
    """Wait for a process, or kill it after some seconds; return its exit code, and whether it was killed."""
    end, killed = None if after is None else time.monotonic() + after, False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), killed
        if end is not None and time.monotonic() >= end and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.002)


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file under a final name."""
    files = [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in files}


def run_shards(root: Path, out: Path, shards: int, moments: random.Random, last: float) -> tuple[int, int]:
    """Start all shards, kill one of them, and resume it; return how often it was killed, and the kept bands."""
    victim = moments.randrange(shards)
    children = {number: start(root, out, "--shard", f"{number}/{shards}") for number in range(shards)}
    _, killed = ended(children[victim], moments.uniform(0, last))
    for number, child in children.items():
        if number != victim:
            assert ended(child)[0] == 0, (root / "log").read_text()
    bands = len(list(out.rglob("*.band")))
    if killed:
        assert ended(start(root, out, "--shard", f"{victim}/{shards}", "--resume"))[0] == 0, (root / "log").read_text()
    return int(killed), bands


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="trials")
    parser.add_argument("--side", type=int, default=512, help="side of the slides in pixels")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--shards", type=int, default=1, help="processes that share the work")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, given.side)
        began = time.monotonic()
        code, _ = ended(start(root, root / "whole"))
        assert code == 0, (root / "log").read_text()
        last = time.monotonic() - began
        expected, wrong = digests(root / "whole"), 0
        print(f"unbroken: {last:.1f} s, {len(expected)} files", flush=True)
        number = attempts = 0
        while number < given.kills:
            words: tuple[str, ...] = ()
            kills, bands, attempts = 0, 0, attempts + 1
            out = root / f"trial{attempts}"
            if given.shards > 1:
                kills, bands = run_shards(root, out, given.shards, moments, last)
                same = digests(out) == expected
                wrong, number = wrong + (not same), number + kills
                print(f"trial {attempts}: a shard of {given.shards} killed {kills} times, {bands} bands were kept: "
                      f"{'the same bytes' if same else 'FILES DIFFER'}", flush=True)  # fmt: skip
                continue
            while True:
                moment, began = moments.uniform(0, last), time.monotonic()
                code, killed = ended(start(root, out, *words), moment if kills < 1 + number % 2 else None)
                kills += killed
                bands = max(bands, len(list(out.rglob("*.band"))))
                found = digests(out)
                if not found.items() <= expected.items():
                    wrong += 1
                    print(f"trial {number}: files differ: {sorted(found.items() - expected.items())}")
                    break
                if code == 0 and not kills:  # it was faster than the moment
                    last = time.monotonic() - began
                    break
                if code == 0:
                    wrong += found != expected
                    print(f"trial {number}: killed {kills} times, up to {bands} bands were kept: "
                          f"{'the same bytes' if found == expected else 'FILES MISSING'}", flush=True)  # fmt: skip
                    break
                assert killed, (root / "log").read_text()
                words = ("--resume",)
            number += kills > 0
        print(f"{given.kills - wrong} of {given.kills} trials ended with the bytes of the unbroken run")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
