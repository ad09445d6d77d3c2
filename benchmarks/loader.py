"""Measure patches of 512 px per second from `for batch in dls.train`, beside tiles on disk.

    python benchmarks/loader.py SLIDE.tiff MASK.tiff [--patches 1024] [--rounds 3] [--bs 8] [--out t.md]

Tiles on disk: PNG tiles of the same slide, cut beforehand, through fastai's SegmentationDataLoaders. Ours: the whole
slide in the arena. All candidates take turns within a round; the table has the medians. A pass of a loader with workers
includes starting them, as fastai does in each epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tables import give, load

SIZE = 512
CODES = ["background", "nucleus"]


def tiles_on_disk(folder: Path, slide: Any, patches: int, bs: int, workers: int) -> Any:
    """Create SegmentationDataLoaders over PNG tiles."""
    from fastai.vision.all import SegmentationDataLoaders, get_image_files
    from PIL import Image

    from patchaug import Plan, Uniform

    if not folder.exists():
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        plan = Plan([slide], Uniform(SIZE, per_slide=patches + 1))
        for number, draw in enumerate(plan):
            patch = plan.read(draw)
            Image.fromarray(patch.image).save(folder / "images" / f"{number}.png")
            Image.fromarray(patch.mask).save(folder / "masks" / f"{number}.png")
    return SegmentationDataLoaders.from_label_func(
        folder, get_image_files(folder / "images"), lambda path: folder / "masks" / path.name, codes=CODES, bs=bs,
        num_workers=workers, valid_pct=1 / (patches + 1),
    ).train  # fmt: skip


def ours(args: argparse.Namespace, workers: int, **more: Any) -> Any:
    """Create `SlideDataLoaders`."""
    from patchaug import PatchOptions
    from patchaug.fastai import SlideDataLoaders

    other = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    return SlideDataLoaders.from_lists(
        [(args.slide, args.mask)], [other], codes=CODES, options=PatchOptions(size=SIZE, per_slide=args.patches),
        ram="8GB", bs=args.bs, num_workers=workers, **more,
    ).train  # fmt: skip


def raw_torch(slide: Any, args: argparse.Namespace, workers: int, kind: Any = None) -> Any:
    """Create a torch DataLoader over `PatchDataset`, with uint8 batches."""
    import torch
    from torch.utils.data import DataLoader

    from patchaug import PatchDataset, Uniform

    kind = kind or DataLoader

    def collate(patches: list[Any]) -> Any:
        images = torch.stack([torch.from_numpy(patch.image) for patch in patches])
        return images, torch.stack([torch.from_numpy(patch.mask) for patch in patches])

    dataset = PatchDataset([slide], Uniform(SIZE, per_slide=args.patches))
    more = {} if kind is not DataLoader else {"collate_fn": collate}  # `PatchLoader` with torch's own, which it knows
    return kind(dataset, batch_size=args.bs, num_workers=workers, **more)


class _Plain:
    """Reads alone, one after the other."""

    def __init__(self, slide: Any, args: argparse.Namespace) -> None:
        from patchaug import Plan, Uniform

        self.plan = Plan([slide], Uniform(SIZE, per_slide=args.patches))

    def __iter__(self) -> Any:
        return (self.plan.read(draw) for draw in self.plan)


def seconds(batches: Iterable[Any]) -> float:
    """Return the seconds of a full pass."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - start


def main() -> None:
    """Pass over all loaders in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide")
    parser.add_argument("mask")
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bs", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from fasttransform import Pipeline

    from patchaug import Window, open_slide

    slide = open_slide(args.slide, args.mask, codes=CODES, ram="8GB")
    width, height = slide.dimensions
    for y in range(0, height, 1024):
        slide.read(Window(0, y, width, min(1024, height - y)))
    with tempfile.TemporaryDirectory() as folder:
        loaders: dict[str, Any] = {"reads alone": _Plain(slide, args)}
        for workers in (0, 2):
            loaders[f"tiles on disk, {workers} workers"] = tiles_on_disk(
                Path(folder) / "tiles", slide, args.patches, args.bs, workers
            )
            loaders[f"dls.train, {workers} workers"] = ours(args, workers)
            loaders[f"torch's DataLoader, {workers} workers"] = raw_torch(slide, args, workers)
        from patchaug.data.patch_loader import PatchLoader

        loaders["PatchLoader, 2 workers"] = raw_torch(slide, args, 2, PatchLoader)
        # What the main process gets, and would send to a GPU, where it becomes floats.
        loaders["dls.train, 2 workers, bytes"] = ours(args, 2)
        loaders["dls.train, 2 workers, bytes"].after_batch = Pipeline([])
        loaders["dls.train, 2 persistent workers"] = ours(args, 2, persistent_workers=True)
        rates: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(args.rounds + 1):
            for name, loader in loaders.items():
                rates[name].append(args.patches / seconds(loader))
        found = {name: statistics.median(values[1:]) for name, values in rates.items()}
        lines = ["| loader | patches a second | times tiles on disk |", "|---|---|---|"]
        for name, rate in found.items():
            base = found[f"tiles on disk, {2 if '2' in name else 0} workers"]
            lines.append(f"| {name} | {rate:,.0f} | {rate / base:.1f} |")
        lines += ["", load()]
        give(lines, args.out)


if __name__ == "__main__":
    main()
