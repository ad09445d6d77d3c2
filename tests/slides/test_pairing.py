"""Masks of slides in subfolders, and slides listed in a CSV; what is missing or double is listed with its folder."""

from pathlib import Path

import pytest

from patchaug import MissingError, OptionError, ReadError
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pair_table import Example, read_table
from patchaug.slides.pairing import find_masks


def touch(root: Path, *names: str) -> Path:
    """Make empty files below a folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path) -> list[str]:
    """Return the masks of root/images in root/masks, as paths below it."""
    files = get_slide_files(root / "images")
    return [str(mask.relative_to(root / "masks")) for mask in find_masks(files, root / "masks", root=root / "images")]


def test_subfolders_on_both_sides_belong_together(tmp_path: Path) -> None:
    """Slides of the same name in the folders of several patients."""
    touch(tmp_path / "images", "p1/a.png", "p2/a.png", "b.png")
    touch(tmp_path / "masks", "p1/a.png", "p2/a_mask.png", "b.png")
    assert found(tmp_path) == ["b.png", "p1/a.png", "p2/a_mask.png"]


def test_a_mask_of_another_subfolder_is_not_taken(tmp_path: Path) -> None:
    """It belongs to another patient; the error says where it lies, and which masks are left over."""
    touch(tmp_path / "images", "p1/a.png", "p2/b.png")
    touch(tmp_path / "masks", "p2/a.png", "p2/b.png", "p3/c.png")
    text = (
        r"1 of 2 slides have no mask in .*masks: p1/a.png; .*in other subfolders: p2/a.png; masks without a slide: p3/c"
    )
    with pytest.raises(MissingError, match=text):
        found(tmp_path)


@pytest.mark.parametrize(("image", "mask"), [("p1/a.png", "a.png"), ("a.png", "p1/a.png")])
def test_one_side_may_be_flat(image: str, mask: str, tmp_path: Path) -> None:
    """Then the name decides."""
    touch(tmp_path / "images", image)
    touch(tmp_path / "masks", mask)
    assert found(tmp_path) == [mask]


@pytest.mark.parametrize("images", [("p1/a.png", "p2/a.png"), ("a.png", "a.tiff")])
def test_a_mask_serves_one_slide(images: tuple[str, str], tmp_path: Path) -> None:
    """All of its slides are listed with their folders."""
    touch(tmp_path / "images", *images)
    touch(tmp_path / "masks", "a.png")
    with pytest.raises(OptionError, match=f"a.png would be the mask of 2 slides: {', '.join(images)}; keep one"):
        found(tmp_path)


def write(root: Path, text: str, *files: str) -> Path:
    """Write a CSV beside empty files."""
    touch(root, *files).joinpath("t.csv").write_text(text, encoding="utf-8")
    return root / "t.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read(delimiter: str, mark: str, tmp_path: Path) -> None:
    """As spreadsheets write it; any order of columns, others are passed over."""
    rows = ["Mask,image,notes,split,group,mpp", "m/a.png,a.png,good,train,p1,0.5", "m/b.png,b.png,,val,,"]
    text = mark + "\r\n".join(row.replace(",", delimiter) for row in rows) + "\r\n\r\n"
    assert read_table(write(tmp_path, text, "a.png", "m/a.png", "b.png", "m/b.png")) == [
        Example(tmp_path / "a.png", tmp_path / "m/a.png", "train", "p1", 0.5),
        Example(tmp_path / "b.png", tmp_path / "m/b.png", "valid", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("image,msk\na.png,a.png", OptionError, "did column 'msk' mean 'mask'"),
        ("image,label\na.png,a.png", OptionError, "column 'mask' is missing; the first row has image, label"),
        ("image,mask,image\na.png,b.png,a.png", OptionError, "'image' is given twice"),
        ("image,mask\na.png,", OptionError, "line 2: mask is empty"),
        ("image,mask\na.png,b.png,c", OptionError, "line 2: more fields than columns"),
        ("image,mask,split\na.png,b.png,dev", OptionError, "line 2: split must be train, valid or test, got 'dev'"),
        ("image,mask,mpp\na.png,b.png,-1", OptionError, "line 2: mpp must be micrometres per pixel above 0, got '-1'"),
        ("image,mask\na.png,x.png\ny.png,b.png", MissingError, "lists 2 files that do not exist: .*x.png, .*y.png"),
        ("image,mask\na.png,b.png\na.png,c.png", OptionError, "lists 1 images twice: .*a.png; keep one row"),
        ("image,mask\na.png,b.png\nc.png,b.png", OptionError, "lists 1 masks twice: .*b.png; keep one row"),
        ("image,mask\n", OptionError, "lists no slide"),
        ("", OptionError, "column 'image' is missing"),
        ('image,mask\n"a.png,b.png', ReadError, "near line 1: unexpected end of data"),
    ],
)
def test_mistakes_of_a_table_name_line_and_cure(text: str, error: type, message: str, tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(error, match=f"t.csv.*{message}"):
        read_table(write(tmp_path, text, "a.png", "b.png", "c.png"))


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    """A folder, a picture."""
    with pytest.raises(MissingError, match="there is no file"):
        read_table(tmp_path)
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ReadError, match="not text in UTF-8"):
        read_table(tmp_path / "t.csv")


def test_the_ending_of_ome_is_no_part_of_a_name(tmp_path: Path) -> None:
    """case7.ome.tif and case7.png are a pair, and the other way round; a mask of the whole name goes before."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    names = {"a.ome.tif": "a.png", "b.tif": "b.ome.tif", "c.ome.tif": "c_mask.ome.tiff", "d.ome.tif": "d_mask.geojson"}
    for image, mask in names.items():
        (tmp_path / "images" / image).touch()
        (tmp_path / "masks" / mask).touch()
    images = [tmp_path / "images" / name for name in names]
    assert [mask.name for mask in find_masks(images, tmp_path / "masks")] == list(names.values())
    (tmp_path / "masks" / "a.ome.png").touch()
    assert find_masks(images, tmp_path / "masks")[0].name == "a.ome.png"
    (tmp_path / "images" / "b.ome.tif").touch()
    with pytest.raises(OptionError, match="would be the mask of 2 slides"):
        find_masks([*images, tmp_path / "images" / "b.ome.tif"], tmp_path / "masks")
