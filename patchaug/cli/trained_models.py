"""The model of `patchaug predict` and `patchaug evaluate`, and the flags that both have."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.cli.common import require
from patchaug.cli.run_folder import MODEL, MODEL_INDEX
from patchaug.core.windows import Window
from patchaug.errors import MissingError, OptionError

ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Folder of a run, its model/ or best/, or a .pkl of a maker whom you trust: a pickle runs code.",
    ),
]
Overlap = Annotated[
    str | None,
    typer.Option(
        metavar="N|SHARE", help="What windows share at least: pixels, or a share such as 0.25; as trained by default."
    ),
]
Blend = Annotated[
    str | None,
    typer.Option(
        metavar="hann|gaussian|crop", help="How windows are joined; hann where they overlap, crop where they do not."
    ),
]
Tta = Annotated[
    str | None, typer.Option(metavar="d4", help="Average over the eight rotations and mirror images of each window.")
]
Region = Annotated[
    str,
    typer.Option(
        metavar="all|tissue|X,Y,W,H|FILE",
        help="What is predicted; the rest is background. A window is in pixels of the model.",
    ),
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Windows in a batch; as trained by default.")]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Processes that read; as trained by default.")]
Output = Annotated[
    str | None,
    typer.Option(metavar="N|NAME", help="Which tensor holds the scores, for a model that gives several."),
]
Ensemble = Annotated[
    list[Path] | None,
    typer.Option(metavar="MODEL", help="Another model, whose probabilities are averaged with the first; repeatable."),
]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="K/N", help="Part K (from 0) of N that this process does; torchrun sets it."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was broken off; what is finished is skipped.")]
Device = Annotated[str | None, typer.Option(metavar="cpu|cuda|mps", help="Device; a GPU where there is one.")]


def load_model(path: Path, device: str | None = None) -> Any:
    """Load the model of a command.

    Args:
        path: Folder of a run or of a model, or an exported learner.
        device: Where it runs; default: fastai's.

    Raises:
        MissingError: There is no such file, or no model in the folder.
        OptionError: It is no model, or there is no such device, or fastai 2 is not installed.
        ReadError: The folder was changed.
    """
    _require_fastai2()
    if not path.exists():
        raise MissingError(f"there is no model {path}; name the folder of a run, its model/, or an exported learner")
    with warnings.catch_warnings():  # fastai's use of torch; and its warning that pickles run code, see --help
        warnings.simplefilter("ignore")
        from patchaug.fastai2 import model_folder

        if path.is_dir():
            require(
                (path / MODEL_INDEX).exists() or (path / Path(MODEL).stem).is_dir() or not (path / MODEL).is_file(),
                f"{path} holds no model as data (it is of your own code, or safetensors was not installed); name the "
                f"pickle, which runs code: {path / MODEL}",
            )
            plain = path / Path(MODEL).stem
            learn = model_folder.load_model(path if (path / MODEL_INDEX).exists() or not plain.is_dir() else plain)
        else:
            require(
                path.suffix.lower() == ".pkl",
                f"{path}: a model is the folder that patchaug train leaves, or a .pkl of learn.export",
            )
            learn = model_folder.load_pickle(path)
        return model_folder.on_device(learn, device)


def load_models(path: Path, others: list[Path] | None, device: str | None) -> list[Any]:
    """Load the models of a command; several are an ensemble. See `load_model`."""
    return [load_model(one, device) for one in (path, *(others or ()))]


def _require_fastai2() -> None:
    try:
        installed = version("fastai")
    except PackageNotFoundError:
        raise OptionError("this command needs fastai, which is not installed: pip install 'patchaug[fastai]'") from None
    if installed.startswith("1."):
        raise OptionError(
            f"this command needs fastai 2, and {installed} is installed; in a script: "
            f"load_learner(folder).predict_slides(slides, folder)"
        )


def prediction_options(
    overlap: str | None, blend: str | None, tta: str | None, region: str, batch_size: int | None, workers: int | None,
    output: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the flags as arguments of `PredictOptions`.

    Raises:
        OptionError: A flag is no number.
    """
    return {
        "overlap": None if overlap is None else _pixels_or_share(overlap), "blend": blend, "tta": tta,
        "region": _region(region), "batch_size": batch_size, "workers": workers,
        "output": int(output) if output is not None and output.isdecimal() else output,
    }  # fmt: skip


def at_level(region: Any, learn: Any) -> Any:
    """Return a region whose `Window` counts pixels of the level that a model reads."""
    from patchaug.predict.trained_model import trained_model

    return replace(region, level=trained_model(learn).grid.level) if isinstance(region, Window) else region


def _pixels_or_share(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise OptionError(f"--overlap must be pixels or a share such as 0.25, got {text!r}") from None


def _region(text: str) -> Any:
    """Return "all" or "tissue" as they are, four numbers as a `Window`, and all else as a path."""
    parts = text.split(",")
    if len(parts) == 4 and all(part.strip().isdecimal() for part in parts):
        return Window(*map(int, parts))
    if text in ("all", "tissue"):
        return text
    if not Path(text).exists():
        raise OptionError(
            f"--region must be all, tissue, X,Y,WIDTH,HEIGHT, or a file of polygons or a mask, got {text!r}"
        )
    return Path(text)
