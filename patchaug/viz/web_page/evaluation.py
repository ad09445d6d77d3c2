"""HTML page of an evaluation: scores with their intervals, confusion, slides, and pictures of the worst windows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchaug.core.arrays import Array
from patchaug.core.atomic import write_text
from patchaug.core.palette import class_colour, class_colours, hexadecimal
from patchaug.slides.patch import Patch
from patchaug.viz.compare import resized_for_display
from patchaug.viz.web_page.images import data_url

CONTENT = "evaluation"
_SIDE = 320  # of a picture, pixels
_OPACITY = 0.5
_TITLES = {
    "dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall", "boundary_f1": "boundary F1",
    "objects_precision": "objects: precision", "objects_recall": "objects: recall", "objects_f1": "objects: F1",
    "objects_iou": "objects: mean IoU",
}  # fmt: skip


@dataclass(frozen=True)
class WindowPicture:
    """A window whose prediction is wrong in many pixels.

    Attributes:
        slide: Name of the slide.
        text: What the caption says of the window.
        image: Pixels, (height, width, channels).
        truth: Labels, integer (height, width).
        predicted: Predicted classes, integer (height, width).
        link: Address of the window in the slide's page; None without one.
    """

    slide: str
    text: str
    image: Array
    truth: Array
    predicted: Array
    link: str | None = None


def write_evaluation_page(
    report: dict[str, Any], out: str | os.PathLike[str], *, title: str, pictures: Sequence[WindowPicture] = (),
    ignore_index: int | None = None, pages: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write the page of an evaluation, one file without external references but links to the slides' pages.

    Args:
        report: What `evaluation_report` returns; "remarks" and "failed" are shown too.
        out: Path of the .html file to write.
        title: Title of the page.
        pictures: The worst windows.
        ignore_index: Label that does not count.
        pages: Address of each slide's page, by the slide's name.

    Returns:
        The path.

    Raises:
        MissingError: The folder of `out` does not exist.
        WriteError: The file exists and is not such a page, or cannot be written.

    Examples:
        >>> from patchaug.predict.evaluation import evaluate_slide
        >>> from patchaug.predict.evaluation_report import evaluation_report
        >>> from patchaug.viz.web_page.evaluation import write_evaluation_page
        >>> report = evaluation_report([evaluate_slide(learn, slide)])
        >>> write_evaluation_page(report, "report.html", title="Evaluation").name
        'report.html'
    """
    text = files("patchaug.viz.web_page").joinpath("evaluation.html").read_text(encoding="utf-8")
    body = "\n".join(
        [
            *(f"<p>{escape(one)}</p>" for one in report.get("remarks", [])),
            *(
                f'<p class="failed">{escape(slide)} was not evaluated: {escape(error)}</p>'
                for slide, error in report.get("failed", {}).items()
            ),
            *_overall(report), *_confusion(report), *_worst(pictures, report["classes"], ignore_index),
            *_slides(report, pages or {}),
        ]
    )  # fmt: skip
    write_text(out, text.replace("/*TITLE*/", escape(title)).replace("/*BODY*/", body, 1), CONTENT)
    return Path(out)


def _overall(report: dict[str, Any]) -> list[str]:
    overall, names = report["overall"], list(next(iter(report["overall"]["scores"].values())))
    rows = [
        [escape(code), *(_score(scores[name], overall["intervals"][code][name]) for name in names)]
        for code, scores in overall["scores"].items()
    ]
    share = "no labelled pixels" if overall["accuracy"] is None else f"{overall['accuracy']:.4f} of all labelled pixels"
    several = len(report["slides"]) > 1
    below = f"; below each score, its {report['intervals']['coverage']:.0%} interval by bootstrap over slides"
    return [
        "<h2>Scores by class</h2>",
        f"<p>{len(report['slides'])} slide{'s' * several}, each labelled pixel once. Right: {share}"
        f"{below if several else ''}.</p>",
        _table(["class", *(_TITLES[name] for name in names)], rows),
    ]


def _confusion(report: dict[str, Any]) -> list[str]:
    counts, codes = np.array(report["overall"]["confusion"]), report["classes"]
    lines = []
    for code, row in zip(codes, counts, strict=True):
        cells = [_cell(count, count / row.sum() if row.sum() else 0.0) for count in row]
        lines.append(f"<tr><th>{escape(code)}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(code)}</th>" for code in codes)
    return [
        "<h2>Confusion</h2>",
        "<p>Rows are labels, columns predictions: pixels, and their share of the row.</p>",
        f'<div class="scroll"><table class="confusion"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>',
    ]


def _cell(count: int, share: float) -> str:
    light = [round(255 + share * (end - 255)) for end in (0, 90, 150)]
    dark = ' class="dark"' if share > 0.5 else ""
    return (
        f'<td{dark} style="background:rgb({light[0]},{light[1]},{light[2]})">{count:,}<small>{share:.1%}</small></td>'
    )


def _worst(pictures: Sequence[WindowPicture], codes: Sequence[str], ignore_index: int | None) -> list[str]:
    if not pictures:
        return []
    colours = [hexadecimal(class_colour(number, None)) for number in range(len(codes))]
    legend = "".join(
        f'<span><i class="swatch" style="background:{colour}"></i>{escape(code)}</span>'
        for colour, code in list(zip(colours, codes, strict=True))[1:]
    )
    lines = ["<h2>Worst windows</h2>", f'<p class="legend">{legend}</p>']
    for one in pictures:
        where = f"{escape(one.slide)}, {escape(one.text)}"
        if one.link is not None:
            where += f' &middot; <a href="{escape(one.link)}">show in the slide</a>'
        shown, mask = resized_for_display(Patch(one.image, one.truth), _SIDE)
        guess = resized_for_display(Patch(one.image, one.predicted), _SIDE)[1]
        panels = (("image", None), ("labels", mask), ("prediction", guess))
        images = "".join(
            f'<div><img alt="{name}" src="{_panel(shown, classes, ignore_index)}">{name}</div>'
            for name, classes in panels
        )
        lines.append(f'<figure><figcaption>{where}</figcaption><div class="panels">{images}</div></figure>')
    return lines


def _panel(image: Array, classes: Array | None, ignore_index: int | None) -> str:
    """Return an image, with classes over it, as a data URL."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    if classes is not None:
        over = class_colours(classes, ignore_index)
        alpha = Image.fromarray((over[..., 3] * _OPACITY).astype(np.uint8))
        picture.paste(Image.fromarray(over[..., :3]), mask=alpha)
    return data_url(picture, "PNG", optimize=True)


def _slides(report: dict[str, Any], pages: dict[str, str]) -> list[str]:
    rows = []
    for one in report["slides"]:
        name = escape(one["slide"])
        name = f'<a href="{escape(pages[one["slide"]])}">{name}</a>' if one["slide"] in pages else name
        size = f"{one['width']:,} x {one['height']:,}"
        accuracy = "" if one["accuracy"] is None else f"{one['accuracy']:.4f}"
        dice = [_score(one["scores"][code]["dice"], None) for code in report["classes"]]
        rows.append([name, size, accuracy, *dice])
    head = ["slide", "pixels", "right", *(f"Dice {escape(code)}" for code in report["classes"])]
    return ["<h2>Slides</h2>", _table(head, rows)]


def _score(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if interval is None else f"<small>{interval[0]:.3f} to {interval[1]:.3f}</small>")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f"<th>{one}</th>" for one in head)
    rest = "".join("<tr>" + "".join(f"<td>{one}</td>" for one in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{first}</tr>{rest}</table></div>'
