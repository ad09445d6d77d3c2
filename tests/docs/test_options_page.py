"""The page of all options is that of the models: `python -m tests.docs.test_options_page` writes it."""

from __future__ import annotations

from patchaug.options.fields import PatchOptions, TrainOptions
from patchaug.options.settings import Settings, metavar_of

from .blocks import ROOT

PAGE = ROOT / "docs" / "all-options.md"
START = """# All options

The fields of `PatchOptions` and `TrainOptions`. On the command line `per_slide` is `--per-slide`, in the environment
`PATCHAUG_PER_SLIDE`; [Options](howto/options.md) explains the sources. N is an integer, X a number.
"""


def page() -> str:
    """Return the text of the page."""
    rest = [name for name in TrainOptions.model_fields if name not in PatchOptions.model_fields]
    parts = [
        START,
        "\n## Windows: PatchOptions\n\n",
        table(PatchOptions, list(PatchOptions.model_fields)),
        "\n## Data and training: TrainOptions\n\nAll options of the windows, and these:\n\n",
        table(TrainOptions, rest),
    ]
    return "".join(parts)


def table(model: type[Settings], names: list[str]) -> str:
    """Return a table of options: name, values, default, meaning."""
    rows = ["| option | values | default | meaning |", "|---|---|---|---|"]
    for name in names:
        field = model.model_fields[name]
        extra = field.json_schema_extra
        unit = f" ({extra['unit']})" if isinstance(extra, dict) and "unit" in extra else ""
        given = ",".join(map(str, field.default)) if isinstance(field.default, list) else field.default
        default = "required" if field.is_required() else "" if given in (None, "") else f"`{given}`"
        values = "yes or no" if field.annotation is bool else metavar_of(name, model).replace("|", "\\|")
        rows.append(f"| `{name}` | {values} | {default} | {field.description}{unit} |")
    return "\n".join(rows) + "\n"


def test_the_page_lists_all_options() -> None:
    """With values, default and meaning, and so does `help`."""
    assert PAGE.read_text() == page(), "options have changed: python -m tests.docs.test_options_page"
    for model in (PatchOptions, TrainOptions):
        assert model.__doc__ is not None
        for name, field in model.model_fields.items():
            assert f"\n        {name}: " in model.__doc__ and str(field.description) in model.__doc__


if __name__ == "__main__":
    PAGE.write_text(page())
