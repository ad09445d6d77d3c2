"""SlideItemList in fastai 1's words, on both majors: the asker's call, counts that differ, splits, mistakes."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from patchaug import MissingError, OptionError, PatchOptions, WindowError, open_slide
from patchaug.fastai import SlideItemList, get_transforms
from patchaug.testing import mask_at, places, write_pyramid

from .conftest import CODES, origin, pairs_of, part


def make_data_bunch(datas, classes, patch):
    """The asker's own call: dicts with 'image', 'label_image' and 'purpose', and a batch size of one."""
    train, valid = ([d for d in datas if d["purpose"] == purpose] for purpose in ("train", "valid"))
    return (
        SlideItemList.from_lists([d["image"] for d in [*train, *valid]], patch=patch)
        .split_by_idx(range(len(train), len(datas)))
        .label_from_lists(*([d["label_image"] for d in one] for one in (train, valid)), classes=classes)
        .transform(get_transforms(flip_vert=True), tfm_y=True)
        .databunch(bs=1, num_workers=0)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """slides/s0..s3.tiff, masks/s0..s3.tiff, of `part`; table.csv and valid.txt beside them."""
    root = tmp_path_factory.mktemp("lists")
    for number in range(4):
        for kind, pixels in zip(("slides", "masks"), part(number), strict=True):
            (root / kind).mkdir(exist_ok=True)
            write_pyramid(root / kind / f"s{number}.tiff", [pixels])
    names = [f"s{number}" for number in range(4)]
    frame = pd.DataFrame(
        {"slide": names, "mask": [f"masks/{n}.tiff" for n in names], "held": [n == "s3" for n in names]}
    )
    frame.to_csv(root / "table.csv", index=False)
    (root / "valid.txt").write_text("s3.tiff\n")
    return root


def mask_of(path: Path) -> Path:
    """The mask of a slide."""
    return path.parent.parent / "masks" / path.name


def seen(loader) -> Counter:
    """How often each (slide, x, y) comes in a pass; every mask belongs to its image."""
    found: Counter = Counter()
    for batch in loader:
        for image, mask in pairs_of(batch):
            assert (mask == mask_at(*places(image))).all()
            found[origin(image)] += 1
    return found


@pytest.mark.parametrize("kind", ["arrays", "paths"])
def test_the_askers_call(folder: Path, kind: str) -> None:
    """Ten lines; one full slide an item; the default transforms of fastai 1, perspective warp too, image and mask."""
    numbers = [0, 1, 3]
    paths = [folder / "slides" / f"s{n}.tiff" for n in numbers]
    images, masks = (paths, [mask_of(p) for p in paths]) if kind == "paths" else zip(*map(part, numbers), strict=True)
    datas = [
        {"image": image, "label_image": mask, "purpose": "valid" if n == 3 else "train"}
        for n, image, mask in zip(numbers, images, masks, strict=True)
    ]
    data = make_data_bunch(datas, CODES, PatchOptions(48, seed=5))
    assert list(data.classes) == CODES and data.c == 5
    batches = list(data.train_dl)
    assert len(batches) == 2  # as many items as slides
    for images, masks in batches:
        assert images.shape == (1, 3, 48, 48) and masks.shape[-2:] == (48, 48) and masks.max() < 5
    assert {slide for slide, _, _ in seen(data.valid_dl)} == {3}


def test_transforms_move_image_and_mask_together() -> None:
    """Flips and quarter turns only, so that each pixel still says what its class is."""
    random.seed(1)  # fastai draws the transforms of a batch from global generators
    torch.manual_seed(1)
    images, masks = zip(*map(part, range(2)), strict=True)
    turns = get_transforms(flip_vert=True, max_rotate=0.0, max_zoom=1.0, max_lighting=0.0, max_warp=0.0)
    data = (
        SlideItemList.from_arrays(images, patch=PatchOptions(32, per_slide=24))
        .split_by_idx([1])
        .label_from_lists(masks[:1], masks[1:], classes=CODES)
        .transform(turns, tfm_y=True)
        .databunch(bs=8, num_workers=0)
    )
    turned = 0
    for batch in data.train_dl:
        for image, mask in pairs_of(batch):
            x0, y0 = places(image)
            assert (mask == mask_at(x0, y0)).mean() > 0.99  # bilinear sampling rounds a pixel in a hundred at most
            turned += not (x0[0, 0] < x0[0, -1] and y0[0, 0] < y0[-1, 0])
    assert turned > 8


def test_a_halo_is_cropped_after_the_transforms() -> None:
    """Batches of the window's size, training windows that keep the halo inside, validation as it is."""
    images, masks = zip(*map(part, range(2)), strict=True)
    data = (
        SlideItemList.from_arrays(images, patch=PatchOptions(32, per_slide=12, halo=8, edge="shift"))
        .split_by_idx([1])
        .label_from_lists(masks[:1], masks[1:], classes=CODES)
        .transform(get_transforms(max_rotate=45.0, max_lighting=0.0), tfm_y=True)
        .databunch(bs=4, num_workers=0)
    )
    shapes = {(tuple(x.shape[1:]), tuple(y.shape[-2:])) for x, y in data.train_dl}
    assert shapes == {((3, 32, 32), (32, 32))}
    plans = [getattr(loader, "plan", None) or loader.dataset.x.plan for loader in (data.train_dl, data.valid_dl)]
    assert all(8 <= draw.window.x <= 96 - 40 and 8 <= draw.window.y <= 96 - 40 for draw in plans[0])
    assert set(seen(data.valid_dl)) == {(1, x, y) for x in (0, 32, 64) for y in (0, 32, 64)} and len(plans[1]) == 9


def test_tiles_per_slide_differ() -> None:
    """1, 9 and 40 in one data set: a grid epoch has each once, in training too, and no slide is on both sides."""
    sizes = [(32, 32), (96, 96), (256, 160)] * 2
    images, masks = zip(*(part(n, *size) for n, size in enumerate(sizes)), strict=True)
    data = (
        SlideItemList.from_arrays(images, patch=PatchOptions(32, mode="grid"))
        .split_by_idx([3, 4, 5])
        .label_from_lists(masks[:3], masks[3:], classes=CODES)
        .databunch(bs=4, num_workers=0, drop_last=False)
    )
    for loader, slides in ((data.train_dl, (0, 1, 2)), (data.valid_dl, (3, 4, 5))):
        found = seen(loader)
        assert set(found.values()) == {1}
        assert Counter(slide for slide, _, _ in found) == dict(zip(slides, (1, 9, 40), strict=True))
        assert set(found) == {
            (n, x, y) for n in slides for x in range(0, sizes[n][0], 32) for y in range(0, sizes[n][1], 32)
        }


def test_random_counts_differ_by_area() -> None:
    """A total shared out: 50 windows by area."""
    images, masks = zip(*(part(n, *size) for n, size in enumerate([(32, 32), (96, 96), (256, 160)])), strict=True)
    data = (
        SlideItemList.from_arrays(images, patch=PatchOptions(32, per_slide="area", windows=50))
        .split_by_idx([1])
        .label_from_lists([masks[0], masks[2]], [masks[1]], classes=CODES)
        .databunch(bs=5, num_workers=0)
    )
    counts = Counter(slide for slide, _, _ in seen(data.train_dl).elements())
    assert sum(counts.values()) == 50 and counts[0] == 1 and counts[2] == 49


def test_every_start_and_split_gives_the_same_slides(folder: Path) -> None:
    """Folder, list, data frame, csv; by index, files, file of names, function, column and given lists."""
    options, paths = {"patch": PatchOptions(32, per_slide=4, seed=1)}, sorted((folder / "slides").iterdir())
    frame = pd.read_csv(folder / "table.csv")
    start = SlideItemList.from_folder(folder / "slides", **options)
    in_frame = {"folder": "slides", "suffix": ".tiff", **options}
    lists = {
        "index": start.split_by_idx([3]),
        "files": SlideItemList.from_lists(map(str, paths), **options).split_by_files(["s3.tiff"]),
        "names": start.split_by_fname_file("valid.txt", path=folder),
        "function": start.split_by_valid_func(lambda path: path.stem == "s3"),
        "column": SlideItemList.from_df(frame, folder, **in_frame).split_from_df("held"),
        "csv": SlideItemList.from_csv(folder, "table.csv", **in_frame).split_from_df(2),
        "lists": start.split_by_list(*(SlideItemList.from_lists(one, **options) for one in (paths[:3], paths[3:]))),
        "numbers": start.split_by_idxs([0, 1, 2], [3]),
    }
    passes = {}
    for name, split in lists.items():
        if name in ("column", "csv"):
            labelled = split.label_from_df("mask" if name == "column" else 1, classes=CODES)
        elif name == "lists":
            labelled = split.label_from_lists([mask_of(p) for p in paths[:3]], [mask_of(paths[3])], classes=CODES)
        else:
            labelled = split.label_from_func(mask_of, classes=CODES)
        data = labelled.databunch(bs=4, num_workers=0)
        passes[name] = seen(data.train_dl), seen(data.valid_dl)
    assert all(one == passes["index"] for one in passes.values())
    by_chance = (
        start.split_by_rand_pct(0.5, seed=2).label_from_func(mask_of, classes=CODES).databunch(bs=4, num_workers=0)
    )
    sides = [{slide for slide, _, _ in seen(dl)} for dl in (by_chance.train_dl, by_chance.valid_dl)]
    assert len(sides[0]) == len(sides[1]) == 2 and not sides[0] & sides[1]


def test_folders_split_too(tmp_path: Path) -> None:
    """train/ and valid/ below the path."""
    for number, name in enumerate(("train", "valid", "other")):
        (tmp_path / name).mkdir()
        write_pyramid(tmp_path / name / f"s{number}.tiff", [part(number)[0]])
    masks = {f"s{number}.tiff": part(number)[1] for number in range(3)}
    start = SlideItemList.from_folder(tmp_path, patch=PatchOptions(32, per_slide=4))
    data = (
        start.split_by_folder().label_from_func(lambda p: masks[p.name], classes=CODES).databunch(bs=2, num_workers=0)
    )
    assert {n for n, _, _ in seen(data.train_dl)} == {0} and {n for n, _, _ in seen(data.valid_dl)} == {1}
    chosen = SlideItemList.from_folder(tmp_path, include=["other"], patch=PatchOptions(32))
    assert [Path(item).name for item in chosen.items] == ["s2.tiff"]


def test_windows_are_drawn_by_name() -> None:
    """A named array keeps its windows when another slide joins, and an open slide keeps its name."""
    images, masks = zip(*map(part, range(3)), strict=True)

    def windows(start, labels) -> set:
        data = start.split_by_idx([len(labels) - 1]).label_from_lists(labels[:-1], labels[-1:], classes=CODES)
        return set(seen(data.databunch(bs=1, num_workers=0).train_dl))

    options = {"patch": PatchOptions(16, per_slide=9)}
    alone = windows(SlideItemList.from_arrays(images[1:], names=["b", "c"], **options), masks[1:])
    joined = windows(SlideItemList.from_arrays(images, names=["a", "b", "c"], **options), masks)
    opened = [open_slide(image, name=name) for image, name in zip(images[1:], "bc", strict=True)]
    assert (
        alone
        == {one for one in joined if one[0] == 1}
        == windows(SlideItemList.from_lists(opened, **options), masks[1:])
    )
    unnamed = windows(SlideItemList.from_arrays(images[1:], **options), masks[1:])
    assert unnamed != alone


@pytest.mark.parametrize(
    ("mistake", "error", "text"),
    [
        (lambda a, m: start([(a[0], 9)]), OptionError, "item 0 is a tuple, and an item is one slide"),
        (lambda a, m: start([None]), OptionError, "item 0 is a NoneType"),
        (lambda a, m: start(a[0]), OptionError, r"got one array \(96, 96, 3\)"),
        (lambda a, m: labelled(a, [*m, m[0]]), OptionError, "1 slides have 2 masks; give one for each"),
        (lambda a, m: databunch(a, m, num_worker=1), OptionError, "'num_worker'.* did you mean num_workers"),
        (lambda a, m: databunch(a, m, per_slide=1), OptionError, "data[a-z]+ has no argument 'per_slide'"),
        (lambda a, m: databunch(a, m, bs=64), OptionError, "3 patches, fewer than the batch size 64"),
        (lambda a, m: databunch(a, m, patch=PatchOptions(99)), WindowError, "99 x 99 px does not fit"),
        (lambda a, m: databunch(a, m, patch=None), OptionError, r"know its windows: say patch=PatchOptions\("),
        (lambda a, m: start(a[:1]).split_by_rand_pct(0.1), OptionError, "one slide cannot be split.* add a slide"),
        (lambda a, m: start(a).split_by_files(["x"]), OptionError, "no slide is called x"),
        (lambda a, m: labelled(a, m).transform(get_transforms()), OptionError, "set tfm_y=True"),
        (lambda a, m: SlideItemList.from_folder("no such"), MissingError, "there is no folder no such"),
        (lambda a, m: SlideItemList.from_csv(".", "no.csv"), MissingError, "there is no file no.csv"),
        (lambda a, m: SlideItemList.from_arrays(a, names=["x"]), OptionError, "2 slides have 1 names"),
        (lambda a, m: SlideItemList.from_df(pd.DataFrame({"a": ["x", None]})), OptionError, "empty in rows 1"),
        (lambda a, m: SlideItemList.from_df(pd.DataFrame({"a": ["x"]}), cols="b"), OptionError, "no column 'b'"),
        (lambda a, m: start(["a", "b"]).split_by_list(start(["a"]), start(["a"])), OptionError, "in both .*: a;"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_clear_line(mistake, error: type, text: str) -> None:
    """What, the value, the cure; before anything is trained."""
    images, masks = map(list, zip(*map(part, range(2)), strict=True))
    with pytest.raises(error, match=text) as caught:
        mistake(images, masks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["../s0.tiff", "slides/../../s0.tiff", "/etc/passwd"])
@pytest.mark.parametrize("name", ["name", "mask"])
def test_a_table_names_nothing_outside_its_folder(folder: Path, tmp_path: Path, name: str, bad: str) -> None:
    """G8: a CSV that somebody else wrote opens no file elsewhere; a frame of one's own may."""
    frame = pd.read_csv(folder / "table.csv")
    columns = dict(zip(("name", "mask"), frame.columns, strict=False))
    frame.loc[1, columns[name]] = bad
    frame.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(OptionError, match=r"table.csv: row 1 of column .* which leaves the folder") as caught:
        SlideItemList.from_csv(tmp_path, "table.csv", patch=PatchOptions(32)).split_by_idx([0]).label_from_df(
            columns["mask"], classes=CODES
        )
    assert "\n" not in str(caught.value)
    SlideItemList.from_df(frame, tmp_path, patch=PatchOptions(32))


def start(sources, patch=PatchOptions(32, per_slide=3)):  # noqa: B008 - frozen
    """A list of slides."""
    return SlideItemList.from_lists(sources, patch=patch)


def labelled(images, masks, **kwargs):
    """One slide to train and one to validate."""
    return start(images, **kwargs).split_by_idx([1]).label_from_lists(masks[:1], masks[1:], classes=CODES)


def databunch(images, masks, *, patch=PatchOptions(32, per_slide=3), bs=1, **kwargs):  # noqa: B008 - frozen
    """Their loaders."""
    return labelled(images, masks, patch=patch).databunch(bs=bs, num_workers=0, **kwargs)


def test_normalize_moves_the_means() -> None:
    """By given statistics, and by those of a batch."""
    images, masks = map(list, zip(*map(part, range(2)), strict=True))
    raw = next(iter(databunch(images, masks).train_dl))[0].cpu().numpy()
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.4, 0.3]
    data = databunch(images, masks)
    data.normalize(tuple(map(np.array, (mean, std))) if hasattr(data, "vocab") else tuple(_tensors(mean, std)))
    given = next(iter(data.train_dl))[0].cpu().numpy()
    expected = (raw - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    assert np.allclose(given, expected, atol=1e-5)
    data = databunch(images, masks)
    data.normalize()
    own = next(iter(data.train_dl))[0].cpu().numpy()
    assert abs(own.mean()) < 1e-3


def _tensors(*lists):
    import torch

    return [torch.tensor(one) for one in lists]
