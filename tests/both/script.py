"""One script for fastai 1 and 2: prints a hash of the windows, labels and pixels of two epochs and of the grid.

python script.py FOLDER WORKERS
"""

import hashlib
import sys
from pathlib import Path

import albumentations as alb
import numpy as np

from patchaug import PatchOptions
from patchaug.fastai import SlideItemList
from patchaug.testing import coordinate_image, coordinate_mask, places, write_pyramid

folder, workers = Path(sys.argv[1]), int(sys.argv[2])
for name, width, height in (("a", 200, 160), ("b", 96, 300), ("c", 130, 130), ("d", 150, 90)):
    write_pyramid(folder / f"{name}.tiff", [coordinate_image(width, height)])
    write_pyramid(folder / "masks" / f"{name}.tiff", [coordinate_mask(width, height)])
classes = list("abcde")
arrays = [coordinate_image(70, 90), coordinate_image(64, 64)]
masks = [coordinate_mask(70, 90), coordinate_mask(64, 64)]


def mask_of(image):
    return image.parent / "masks" / image.name


def collected(start, label):
    data = label(start).databunch(bs=4, num_workers=workers, drop_last=False)
    digest = hashlib.sha256()
    for loader in (data.train_dl, data.train_dl, data.valid_dl):
        for images, labels in loader:
            pixels = (images.cpu().numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
            for patch in pixels:
                x0, y0 = places(patch)
                digest.update(f"{x0[0, 0]} {y0[0, 0]} {x0[-1, -1]} {y0[-1, -1]}\n".encode())
            digest.update(pixels.tobytes())
            digest.update(labels.cpu().numpy().astype(np.uint8).tobytes())
    return digest.hexdigest()


options = PatchOptions(32, per_slide=7, foreground=0.5, classes={"b": 1.0, "d": 2.0}, seed=11, overlap=5)
from_files = SlideItemList.from_folder(folder, recurse=False, patch=options).split_by_rand_pct(0.25, seed=3)
print("files ", collected(from_files, lambda lists: lists.label_from_func(mask_of, classes=classes)))
options = PatchOptions((32, 24), mode="random-grid", per_slide=1, seed=12, valid="random")
from_arrays = SlideItemList.from_arrays(arrays, patch=options).split_by_idx([1])
print("arrays", collected(from_arrays, lambda lists: lists.label_from_lists(masks[:1], masks[1:], classes=classes)))
options = PatchOptions(32, per_slide=7, foreground=0.5, seed=13)
turns = alb.Compose([alb.D4(p=1.0), alb.CoarseDropout(fill=0, fill_mask=0, p=0.5)])
augmented = SlideItemList.from_folder(folder, recurse=False, patch=options, augment=turns).split_by_rand_pct(
    0.25, seed=3
)
print("turned", collected(augmented, lambda lists: lists.label_from_func(mask_of, classes=classes)))
