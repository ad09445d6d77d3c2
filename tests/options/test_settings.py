"""Options through flags, files and environment: equal whichever way they came, and one line for mistakes."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Draw, MissingError, OptionError, PatchOptions, Plan, open_slide
from patchaug.options import files
from patchaug.options.fields import TrainOptions
from patchaug.options.parse_text import from_text, to_text
from patchaug.options.settings import metavar_of

MASK = np.zeros((40, 50), np.uint8)
MASK[7:22, 5:9], MASK[30:, 40:] = 1, 2
SLIDE = open_slide(np.zeros((40, 50, 3), np.uint8), MASK, name="s", codes=["none", "tumor", "stroma"], mpp=0.25)
SIDES = st.integers(1, 8)


@st.composite
def patch_options(draw: st.DrawFn) -> PatchOptions:
    """Any options that fit the slide."""
    mode = draw(st.sampled_from(["random", "grid", "random-grid"]))
    shared = draw(st.booleans())
    # A class may be named or numbered; not both ways at once.
    classes = st.sampled_from(
        [["tumor"], [2], ["stroma", 1], {"tumor": 2.0, "stroma": 0.5}, {1: 1.0}, {2: 3.0, 1: 0.125}]
    )
    size = draw(st.one_of(SIDES, st.tuples(SIDES, SIDES)))
    return PatchOptions(
        size,
        per_slide="area" if shared else draw(st.integers(1, 9)),
        windows=draw(st.integers(1, 9)) if shared else None,
        foreground=draw(st.floats(0, 1)),
        classes=draw(st.none() | classes),
        min_fraction=draw(st.sampled_from([0.0, 1e-3])),
        min_valid=draw(st.sampled_from([0.0, 0.9])),
        overlap=draw(st.integers(0, min(size) - 1 if isinstance(size, tuple) else size - 1)),
        empty=draw(st.sampled_from(["raise", "uniform", "skip"])),
        mode=mode,
        valid=draw(st.sampled_from(["grid", "random"])),
        weights=draw(st.booleans()),
        mpp=draw(st.none() | st.floats(0.25, 1)),
        seed=draw(st.integers(0, 2**32 - 1)),
        ram=draw(st.sampled_from(["auto", "8GB", "512 MiB", "7", 0, 10**12])),
    )


def windows(options: PatchOptions) -> list[Draw]:
    """The first windows that the options draw."""
    plan = Plan([SLIDE], options.samplers().train, seed=options.seed)
    return [plan[index] for index in range(12)]


@given(options=patch_options())
def test_every_way_gives_the_same_options_and_windows(options: PatchOptions, tmp_path_factory) -> None:
    """Flags, environment, JSON and TOML; also of those values that look like another type."""
    folder = tmp_path_factory.getbasetemp()
    texts = {name: to_text(value, PatchOptions.model_fields[name]) for name, value in options.model_dump().items()}
    names = {name: name.replace("_", "-") for name in texts}
    switches = {"true": "--", "false": "--no-"}  # a bool is a switch
    flags = [
        switches[text] + names[name] if text in switches else f"--{names[name]}={text}" for name, text in texts.items()
    ]
    table = json.loads(json.dumps(options.model_dump()))
    toml = folder / "options.toml"
    toml.write_text(tomli_w.dumps({key: value for key, value in table.items() if value is not None}))
    options.save(folder / "options.json")
    ways = [
        PatchOptions.from_args(flags),
        PatchOptions.from_env({f"PATCHAUG_{name.upper()}": text for name, text in texts.items()}),
        PatchOptions.from_file(folder / "options.json"),
        PatchOptions.from_file(toml),
    ]
    expected = windows(options)
    for other in ways:
        assert other == options
        assert {name: type(value) for name, value in other} == {name: type(value) for name, value in options}
        assert windows(other) == expected


@given(st.text(max_size=20))
def test_texts_survive(text: str) -> None:
    """A text that looks like a number, a list or a table is still that text."""
    field = PatchOptions.model_fields["ram"]
    assert from_text(to_text(text, field), field) == text


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("size", "256", 256),
        ("size", "256,512", (256, 512)),
        ("size", "[256, 512]", (256, 512)),
        ("classes", "tumor", ["tumor"]),
        ("classes", "tumor, 2", ["tumor", 2]),
        ("classes", "tumor=2,3=0.5", {"tumor": 2.0, 3: 0.5}),
        ("classes", '{"tumor": 2}', {"tumor": 2.0}),
        ("classes", "none", None),
        ("mpp", "0.5", 0.5),
        ("ram", "none", "none"),  # a text where texts are taken
        ("per_slide", "tissue", "tissue"),
        ("codes", "0,1", ["0", "1"]),
    ],
)
def test_readings_of_a_flag(option: str, text: str, value: object) -> None:
    """As the documents write them."""
    field = TrainOptions.model_fields[option]
    got = from_text(text, field)
    assert (TrainOptions._numbers(got) if option == "classes" else got) == value


def test_later_sources_win(tmp_path: Path) -> None:
    """Defaults, file, environment, flags."""
    file = tmp_path / "run.toml"
    file.write_text("size = 10\nlevel = 1\nseed = 1\n")
    environ = {"PATCHAUG_LEVEL": "2", "PATCHAUG_SEED": "2", "PATHS": "x"}
    made = PatchOptions.layered({"seed": "3"}, file=file, environ=environ, defaults={"size": 9, "overlap": 4})
    assert (made.overlap, made.size, made.level, made.seed) == (4, 10, 2, 3)


SCRIPT = """
import argparse
from patchaug import PatchOptions

parser = argparse.ArgumentParser()
parser.add_argument("--name", required=True)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--fast", action="store_true")
PatchOptions.add_arguments(parser)
args = parser.parse_args()
options = PatchOptions.from_args(args, per_slide=64)
print(args.name, args.epochs, args.fast, options.size, options.per_slide, options.foreground, options.seed)
"""


def test_a_script_with_flags_of_its_own(tmp_path: Path) -> None:
    """Three of its flags beside ours, a file, and a variable; wrong use names the flag, and help has them all."""
    (tmp_path / "run.json").write_text('{"size": 64, "foreground": 0.25, "seed": 5}')

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATCHAUG_SEED": "6", "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""}
        command = [sys.executable, "-c", SCRIPT, *words]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    done = run("--name", "first", "--epochs", "3", "--fast", "--options", "run.json", "--size", "128")
    assert done.stdout == "first 3 True 128 64 0.25 6\n", done.stderr
    wrong = run("--name", "first", "--size", "128", "--foreground", "2")
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")
    assert wrong.stderr.splitlines()[-1].endswith(
        "error: --foreground: option 'foreground' should be less than or equal to 1, got 2.0"
    )
    helped = run("--help").stdout
    assert all(f"--{name.replace('_', '-')} " in helped for name in ["name", "epochs", *PatchOptions.model_fields])


def test_flags_with_a_prefix_stand_beside_flags_of_the_same_name(capsys: pytest.CaptureFixture[str]) -> None:
    """--size is the script's, --patch-size ours."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=float)
    PatchOptions.add_arguments(parser, prefix="patch-")
    args = parser.parse_args(["--size", "1.5", "--patch-size", "32", "--patch-per-slide", "area"])
    assert args.size == 1.5
    with pytest.raises(SystemExit, match="2"):
        PatchOptions.from_args(args, prefix="patch-")
    text = capsys.readouterr().err
    assert "shares out a total" in text and "(as flags: --patch-per-slide" in text
    assert PatchOptions.from_args(args, prefix="patch-", windows=7).windows == 7


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.json", '{"size": 8, "per_side": 4}', "a.json: there is no option 'per_side'; did you mean per_slide?"),
        ("a.json", '{"size": 8, "foreground": NaN}', "a.json: option 'foreground' should be a finite number, got nan"),
        ("a.json", '{"size": 8, "foreground": 1e999}', "option 'foreground' should be a finite number, got inf"),
        ("a.json", '{"size": 8, "size": 9}', "a.json: size is given twice"),
        ("a.json", '{"size": 8, "classes": {"t": 1, "t": 2}}', "a.json: classes.t is given twice"),
        ("a.json", '{"size": 8, "classes": [{"t": 1, "t": 2}]}', r"a.json: classes\[0\].t is given twice"),
        ("a.json", '{"size": 8, "classes": {"t": "2"}}', "a.json: option 'classes.t' should be a valid number"),
        ("a.json", '{"size": "8"}', "a.json: option 'size' should be a valid integer, or a pair, got '8'"),
        ("a.json", '{"size": 8.0}', "a.json: option 'size' should be a valid integer"),
        ("a.json", '{"size": true}', "a.json: option 'size' should be a valid integer"),
        ("a.json", '{"size": [8, 0]}', r"a.json: option 'size\[1\]' should be greater than or equal to 1, got 0"),
        ("a.json", "[1]", "a.json: a file of options is a table of names and values, got a list"),
        ("a.json", '{"size": 8', "a.json: Expecting .* line 1"),
        ("a.json", b'{"size": "\xff"}', "a.json: 'utf-8' codec can't decode"),
        ("a.json", "[" * 200_000, "a.json: too many lists"),
        ("a.json", '{"size": ' + "1" * 5000 + "}", "a.json: Exceeds the limit"),
        ("a.json", '{"size": 8}' + " " * files.LARGEST, "a.json: a file of options has at most 1048576 bytes"),
        ("a.toml", "size = 8\nsize = 9", "a.toml: Cannot overwrite a value"),
        ("a.toml", "size = 8\nforeground = nan", "a.toml: option 'foreground' should be a finite number, got nan"),
        ("a.toml", "size = 8\n[classes]\nt = -1", "a.toml: option 'classes.t' should be greater than or equal to 0"),
        ("a.toml", "size = ", "a.toml: Invalid value"),
        ("a.yaml", "size: 8", "a.yaml: options are read from .json and .toml files, got '.yaml'"),
    ],
)  # fmt: skip
def test_mistakes_in_files_are_one_line(
    tmp_path: Path, monkeypatch, name: str, content: str | bytes, text: str
) -> None:
    """The file, the path of the key, the value, the limit or the nearest name."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(OptionError, match=text) as caught:
        PatchOptions.from_file(name)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Each with the place that it came from."""
    with pytest.raises(OptionError) as caught:
        PatchOptions.layered({"foreground": "2"}, environ={"PATCHAUG_SEED": "-1"})
    assert str(caught.value) == (
        "option 'size' (--size) is missing; "
        "--foreground: option 'foreground' should be less than or equal to 1, got 2.0; "
        "PATCHAUG_SEED: option 'seed' should be greater than or equal to 0, got -1"
    )


def test_unknown_variables_are_refused_and_those_of_a_whole_run_passed_over() -> None:
    """PATCHAUG_EPOCHS is for `patchaug train`; windows alone know nothing of it."""
    with pytest.raises(OptionError, match=r"variable PATCHAUG_SIZ: there is no option 'siz'; did you mean size\?"):
        PatchOptions.from_env({"PATCHAUG_SIZ": "3"})
    assert PatchOptions.from_env({"PATCHAUG_SIZE": "3", "PATCHAUG_EPOCHS": "3"}).size == 3


def test_the_windows_of_a_whole_run_can_be_read_alone(tmp_path: Path) -> None:
    """What `patchaug train` saves is a file of PatchOptions too."""
    run = TrainOptions(64, images="i", masks="m", codes=["a", "b"], epochs=2)
    run.save(tmp_path / "options.json")
    assert TrainOptions.from_file(tmp_path / "options.json") == run
    assert PatchOptions.from_file(tmp_path / "options.json", seed=1) == PatchOptions(64, seed=1)


def test_files_that_cannot_be_written_or_found(tmp_path: Path) -> None:
    """One line each, and nothing left behind."""
    with pytest.raises(MissingError, match="there is no folder"):
        PatchOptions(8).save(tmp_path / "no" / "a.json")
    with pytest.raises(OptionError, match=r"options are saved as .json, got '.toml'"):
        PatchOptions(8).save(tmp_path / "a.toml")
    with pytest.raises(MissingError, match="there is no file"):
        PatchOptions.from_file(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", [PatchOptions, TrainOptions])
def test_the_schema_says_enough_for_a_form(model: type[PatchOptions]) -> None:
    """Each option has a title, a help text, an example that the model takes; limits and units where there are any."""
    schema = model.model_json_schema()
    assert schema["additionalProperties"] is False and "Raises" not in schema["description"]
    needed = {"size": 64, "images": "i", "masks": "m", "codes": ["a"]}
    needed = {name: value for name, value in needed.items() if name in schema["properties"] and name != "masks"}
    for name, option in schema["properties"].items():
        assert option["title"] and option["description"], name
        assert option.get("examples") or option["type"] == "boolean", name
        for example in option.get("examples", []):
            more = {"per_slide": "area"} if name == "windows" else {}
            more |= {"windows": 9} if (name, example) == ("per_slide", "tissue") else {}
            more |= {"foreground": 0.5} if name == "balance" else {}
            more |= {"mode": "grid"} if name == "overlap" else {"folds": 2} if name == "fold" else {}
            more |= {"images": None} if name == "table" else {"weights": True} if name == "max_weight" else {}
            more |= {"codes": ["background", "nucleus"]} if name == "class_weights" else {}
            model(**{**needed, **more, name: example})
    assert schema["properties"]["foreground"] | {"minimum": 0, "maximum": 1} == schema["properties"]["foreground"]
    assert schema["properties"]["mpp"]["unit"] == "µm/px" and schema["properties"]["size"]["unit"] == "px"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PatchOptions((256,)), r"option 'size' should be one side, or a pair \(height, width\), got \(256,\)"),
        (
            lambda: PatchOptions.layered({"size": "8", "per_slide": "0"}),
            "'per_slide' should be greater than or equal to 1",
        ),
        (lambda: PatchOptions.layered({"size": "0"}), "--size: option 'size' should be greater than or equal to 1"),
        (lambda: PatchOptions.layered({"size": "8", "sede": "0"}), "no option 'sede'; did you mean seed"),
        (lambda: PatchOptions.layered({"size": "8", "per_slide": "area"}), r"\(as flags: --per-slide"),
        (
            lambda: Plan([Path("a.tiff")], PatchOptions(8).samplers().train),
            r"slides\[0\] must be a Slide, got a PosixPath",
        ),
        (
            lambda: Plan("a.tiff", PatchOptions(8).samplers().train),
            r"slides must be a list of slides, got 'a.tiff'; open",
        ),
        (lambda: Plan([SLIDE], 8), "sampler must be Uniform, Foreground or Grid, got 8; take Uniform"),
    ],
)
def test_what_people_write_first_is_explained(make, text: str) -> None:
    """The value as it was given, and a cure."""
    with pytest.raises(OptionError, match=text):
        make()


@pytest.mark.parametrize("model", [PatchOptions, TrainOptions])
def test_help_shows_values(model: type[PatchOptions]) -> None:
    """Choices, numbers or an example, never the name of the option again."""
    shown = {
        name: metavar_of(name, model) for name, field in model.model_fields.items() if field.annotation is not bool
    }
    assert (
        shown.items()
        >= {"size": "N|N,N", "per_slide": "N|area|tissue|foreground", "mpp": "X", "seed": "N", "ram": "8GB"}.items()
    )
    assert not [name for name, text in shown.items() if text.lower() in name.split("_")]
