"""Compare libraries: equal samples for any number of workers, and coverage of all windows.

    python benchmarks/peers.py [--draws 20000] [--out table.md]

On an array of 64 x 64 px, all foreground, windows of 32: so there are 33 x 33 of them, each as likely as any other by
every library's own words. Each pixel says where it lies, so a sample says which window it is. Peers that are not
installed are left out:

    pip install torchio==1.2.1 monai==1.6.1 torchgeo==0.8.1
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tables import give

SIDE, SIZE, SAMPLES = 64, 32, 40
Origins = list[tuple[int, int]]
# Its columns and rows, as pixels.
PIXELS = np.stack([*np.meshgrid(np.arange(SIDE), np.arange(SIDE)), np.ones((SIDE, SIDE), int)]).astype(np.uint8)


class Ours:
    """`PatchDataset` with `Foreground`."""

    def __init__(self, count: int) -> None:
        from patchaug import Foreground, PatchDataset, open_slide

        slide = open_slide(np.moveaxis(PIXELS, 0, 2), np.ones((SIDE, SIDE), np.uint8))
        self.patches = PatchDataset([slide], Foreground(SIZE, per_slide=count, foreground=1.0), seed=1)

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return origin(np.moveaxis(self.patches[index].image, 2, 0))


class Monai:
    """`RandCropByPosNegLabeld` of one item, seeded by `set_determinism`, in its own loader."""

    def __init__(self, count: int) -> None:
        from monai.transforms import RandCropByPosNegLabeld

        self.count, self.item = count, {"image": PIXELS, "label": np.ones((1, SIDE, SIDE), np.uint8)}
        self.crop = RandCropByPosNegLabeld(["image"], "label", (SIZE, SIZE), pos=1, neg=0)
        self.crop.set_random_state(1)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[int, int]:
        return origin(np.asarray(self.crop(dict(self.item))[0]["image"]))


class TorchIO:
    """`UniformSampler` in a data set, as its `Queue` calls it in workers."""

    def __init__(self, count: int) -> None:
        import torch
        import torchio

        self.count = count
        self.subject = torchio.Subject(image=torchio.ScalarImage(tensor=torch.from_numpy(PIXELS)[..., None]))
        self.sampler = torchio.UniformSampler((SIZE, SIZE, 1))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[int, int]:
        crop = next(iter(self.sampler(self.subject, num_patches=1)))
        return origin(crop["image"].data[..., 0].numpy())


class TorchGeo:
    """`RandomGeoSampler`'s own `get_random_bounding_box`, drawn in the main process, as samplers of torch are."""

    def __init__(self, count: int) -> None:
        import torch
        from torchgeo.samplers.utils import get_random_bounding_box

        generator = torch.Generator().manual_seed(1)
        boxes = [get_random_bounding_box((0, 0, SIDE, SIDE), SIZE, 1, generator) for _ in range(count)]
        self.origins = [(int(x.start), int(y.start)) for x, y in boxes]  # its rows rise

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.origins[index]


CANDIDATES: dict[str, tuple[str, Callable[[int], Any]]] = {
    "patchaug Foreground": ("patchaug", Ours),
    "MONAI RandCropByPosNegLabeld": ("monai", Monai),
    "TorchIO UniformSampler": ("torchio", TorchIO),
    "TorchGeo RandomGeoSampler": ("torchgeo", TorchGeo),
}


def origin(pixels: np.ndarray) -> tuple[int, int]:
    """Decode column and row of a sample's first pixel."""
    assert pixels.shape[-2:] == (SIZE, SIZE), pixels.shape
    return int(pixels[0, 0, 0]), int(pixels[1, 0, 0])


def drawn(make: Callable[[int], Any], count: int, workers: int) -> Origins:
    """Return the windows of a pass of torch's DataLoader, or of MONAI's, which seeds its workers."""
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(1)
    samples, loader = make(count), DataLoader
    if make is Monai:
        import monai.data

        loader = monai.data.DataLoader
    passed = loader(samples, batch_size=None, num_workers=workers, shuffle=False)
    return [(int(column), int(row)) for column, row in passed]


def row(name: str, make: Callable[[int], Any], draws: int) -> str:
    """Measure a candidate, and format its row of the table."""
    with_none, with_two = (drawn(make, SAMPLES, workers) for workers in (0, 2))
    same = sum(one == other for one, other in zip(with_none, with_two, strict=True))
    counts = Counter(drawn(make, draws, 0))
    windows = (SIDE - SIZE + 1) ** 2
    last = SIDE - SIZE
    edge = any(last in at for at in counts)
    corner = sum(counts[x, y] for x in (0, last) for y in (0, last)) / 4 / draws * windows
    return f"| {name} | {same} of {SAMPLES} | {len(counts)} of {windows} | {'yes' if edge else 'no'} | {corner:.2f} |"


def main() -> None:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = ["| sampler | same for 0 and 2 workers | windows drawn | last row or column | corners, times their share |"]
    lines.append("|---|---|---|---|---|")
    lines += [row(name, make, options.draws) for name, (module, make) in CANDIDATES.items() if find_spec(module)]
    give(lines, options.out)


if __name__ == "__main__":
    main()
