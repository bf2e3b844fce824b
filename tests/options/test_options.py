"""options/schema.py: the option files that ship, and every way to write a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from data.degradation import Padding
from data.jpeg import Sampling
from models import IJCNConfig
from models.losses import RestorationLoss
from options.command_line import read_options
from options.command_line import test_parser as command_line_parser
from options.schema import (
    ColorTestOptions,
    DataOptions,
    DoubleTestOptions,
    OptimisationOptions,
    Options,
    OptionsError,
    RealTestOptions,
    TrainOptions,
    ValidationOptions,
    load_options,
    parse_assignment,
)
from tests.conftest import ROOT

OPTIONS = ROOT / "options"
SMALL = OPTIONS / "train_small.yml"

TESTS: dict[str, type[Options]] = {
    "test_color.yml": ColorTestOptions,
    "test_colordouble.yml": DoubleTestOptions,
    "test_real.yml": RealTestOptions,
}


@pytest.mark.parametrize("path", list(OPTIONS.glob("*.yml")), ids=lambda path: path.name)
def test_shipped_files_load(path: Path) -> None:
    training = path.name.startswith("train_")
    load_options(TrainOptions if training else TESTS.get(path.name, ColorTestOptions), path)


@pytest.mark.parametrize("name", TESTS)
def test_shipped_test_files_list_every_option(name: str) -> None:
    assert set(yaml.safe_load((OPTIONS / name).read_text())) == set(TESTS[name].model_fields)


def test_small_training_file_shows_every_option() -> None:
    shown = yaml.safe_load(SMALL.read_text())
    sections = {
        "": TrainOptions.model_fields,
        "network": IJCNConfig.__dataclass_fields__,
        "data": DataOptions.model_fields,
        "loss": RestorationLoss.__dataclass_fields__,
        "optimisation": OptimisationOptions.__dataclass_fields__,
        "validation": ValidationOptions.model_fields,
    }
    for section, fields in sections.items():
        assert set(shown[section] if section else shown) == set(fields), section


def _load(*overrides: str, name: str = "test_color.yml") -> Any:
    return load_options(TESTS[name], OPTIONS / name, [parse_assignment(x) for x in overrides])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("qualities=75", (75,)),
        ("qualities=[5, 100]", (5, 100)),
        ("padding=pad_first", Padding.PAD_FIRST),
        ("qualities=10,40, 90", (10, 40, 90)),
        ("qualities=[75]", (75,)),
        ("sampling=444", (Sampling.S444,)),
        ("sampling=4:4:4", (Sampling.S444,)),
        ("sampling=[420, 4:4:4]", (Sampling.S420, Sampling.S444)),
        ("sampling=422,411", (Sampling.S422, Sampling.S411)),
        ("testsets=mine", ("mine",)),
        ("testsets=a,b", ("a,b",)),
        ("testsets=[A, B]", ("A", "B")),
        ("testsets=auto", "auto"),
        ("checkpoint=a.pth", ("a.pth",)),
        ("checkpoint=[a.pth, b=c.pth]", ("a.pth", "b=c.pth")),
        ("method=A=b", ("A=b",)),
    ],
)
def test_values_are_taken_as_people_type_them(text: str, values: object) -> None:
    assert getattr(_load(text), text.partition("=")[0]) == values


def test_several_samplings_in_one_run() -> None:
    options = _load("sampling=[420,444]", "qualities=10,40")
    assert [each.label for each in options.degradations()] == [
        *("QF10", "QF40", "QF10_444", "QF40_444")
    ]
    options = _load("pairs=[10,90]", "shifts=4,4", "sampling=420,444", name="test_colordouble.yml")
    assert [each.label for each in options.degradations()] == ["QF10-90+4+4", "QF10-90+4+4_444"]


def test_home_is_expanded_and_shares_may_be_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert _load("output=~/mine").output == Path("/home/me/mine")
    shares = {"drawn_share": 0.33, "desaturated_share": 0.56, "smooth_chroma_share": 0.11}
    assert sum(shares.values()) > 1
    data = DataOptions.model_validate({"folders": ("~/a", Path("b")), **shares}, strict=False)
    assert data.folders == (Path("/home/me/a"), Path("b"))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--set qualities=[0]", "qualities.0: input should be greater than or equal to 1, got 0"),
        ("--set qualities=[0]", "; for example qualities=[10,20,30,40]"),
        ("--set qualities=[10,101]", "qualities.1"),
        ("--set qualities=[ten]", "qualities.0"),
        ("--set qualities=[010]", "qualities.0"),
        ("--set qualities=[true]", "qualities.0"),
        ("--set qualities=[]", "qualities: "),
        ("--set qualities=[10,10]", "once"),
        ("--set qualities=ten", '"ten"; for example qualities=[10,20,30,40]'),
        ("--set sampling=421", "'4:2:0'"),
        ("--set sampling=4:2:1", '"4:2:1"; for example sampling=4:2:0'),
        ("--set padding=somewhere", "for example padding=as_stored"),
        ("--set ensemble=3", "for example ensemble=1"),
        ("--ensemble 3", "--ensemble 3: ensemble: input should be 1, 2 or 4"),
        ("--set max_memory=-1", "for example max_memory=4"),
        ("--set save_images=some", "'first'"),
        ("--device tpu", "for example device=auto"),
        ("--threads -1", "for example threads=0"),
        ("--threads 2.5", "threads: "),
        ("--set qualites=3", "did you mean qualities?"),
        ("--set metrics=psnr,nice", "for example metrics=[psnr,ssim,psnrb,psnr_y,ssim_y]"),
        ("--set metrics=[psnr,psnr]", "each value may stand there once"),
        ("--set colour=3", "unknown option colour; known are"),
        ("--set name=a/b", "for example name=color"),
        ("--set checkpoint=[]", "for example checkpoint=model_zoo/"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_given_and_shown_a_right_one(
    typed: str, words: str
) -> None:
    parser = command_line_parser("", "", "options/test_color.yml", "", "", measures=True)
    with pytest.raises(OptionsError) as caught:
        read_options(ColorTestOptions, parser.parse_args(typed.split()))
    message = str(caught.value)
    assert message.startswith(f"{typed}: ")
    assert words in message
    assert ".yml" not in message
    assert "\n" not in message


@pytest.mark.parametrize("typed", ["output=''", "testsets=['']"])
def test_empty_text_is_not_the_current_folder(typed: str) -> None:
    parser = command_line_parser("", "", "options/test_color.yml", "", "")
    with pytest.raises(OptionsError, match=r"^(output|testsets): empty text; give a value"):
        read_options(ColorTestOptions, parser.parse_args(["--set", typed]))


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name in list(TESTS)[:2] for key in TESTS[name].model_fields],
)
def test_examples_in_messages_are_right_themselves(name: str, key: str) -> None:
    with pytest.raises(OptionsError) as caught:
        load_options(TESTS[name], OPTIONS / name, [(key, {"wrong": 1})])
    _, _, example = str(caught.value).partition("; for example ")
    assert example.startswith(f"{key}="), caught.value
    _load(example, name=name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2.5E4", 25000.0),
        ("-7", -7),
        ("0", 0),
        (".5", 0.5),
        ("3.", 3.0),
        ("4:2:0", "4:2:0"),
        ("010", "010"),
        ("yes", True),
        ("null", None),
        ("2026-11-29", "2026-11-29"),
        ("2026-02-30", "2026-02-30"),
    ],
)
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    parsed = parse_assignment(f"key={text}")[1]
    assert parsed == value
    assert type(parsed) is type(value)


def test_option_files_of_before_are_read(tmp_path: Path) -> None:
    path = tmp_path / "old.yml"
    path.write_text(
        "name: x\ntestsets: [A]\nqualities: [10]\nsampling: '4:2:0'\npadding: as_stored\n"
        "checkpoint: a.safetensors\nsave_images: first\n"
    )
    options = load_options(ColorTestOptions, path)
    assert (options.checkpoint, options.sampling) == (("a.safetensors",), (Sampling.S420,))
    assert options.metrics == ("psnr", "ssim", "psnrb")


def test_lists_may_be_given_as_one_value() -> None:
    given = [("data.folders", "photos"), ("data.drawn_kinds", "text,lines")]
    data = load_options(TrainOptions, SMALL, given).data
    assert data.folders == (Path("photos"),)
    assert data.drawn_kinds == ("text", "lines")
    with pytest.raises(OptionsError, match="write a space after the colon"):
        load_options(TrainOptions, SMALL, [parse_assignment("data.encoder_shares={jpegli:1.0}")])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("network.width", [1, 2, 3], "did you mean network.widths?"),
        ("network.activation", "gelu", "network.activation"),
        ("network.widths", [1, 2], "network.widths"),
        ("optimisation.step", 3, "did you mean optimisation.steps?"),
        (
            "optimisation.parts",
            ["level_chek"],
            "input should be one of logm, qtgm, backbone, level_c",
        ),
        ("data.patch", 100, "data.patch"),
        ("data.lowest_quality", 101, "data.lowest_quality"),
        ("data.fine_share", 0.6, "exceed 1"),
        ("data.workers", -1, "data.workers"),
        ("optimisation.warmup_steps", 6400, "fewer than steps"),
        ("loss.penalty", "l2", "loss.penalty"),
        ("data.drawn_kinds", ["texts"], "unknown texts; known: text, lines"),
        ("data.drawn_share", 1.0, "desaturated_share 0.03 and smooth_chroma_share 0.0 exceed 1"),
    ],
)
def test_wrong_sections_are_one_line_that_names_file_and_key(
    key: str, value: object, words: str
) -> None:
    with pytest.raises(OptionsError) as caught:
        load_options(TrainOptions, SMALL, [(key, value)])
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{SMALL}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [", "not YAML"),
        ("- 1", "must hold"),
        ("name: x\nqualities: [10]\nqualities: [90]", "qualities is there twice"),
        ("a: {b: 1, b: 2}", "b is there twice"),
        ("a: !!int abc", "not YAML"),
        ("a: " + "[" * 3000, "not YAML"),
        ("a: " + "9" * 5000, "not YAML"),
        ("", "must hold"),
        ("name: x", "x.yml: checkpoint is missing"),
        (None, "options/ holds examples"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "x.yml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionsError, match=words):
        load_options(ColorTestOptions, path)


@pytest.mark.parametrize("text", ["qualities", "=3", "x=[1", "x=!!int abc", "x={a: 1, a: 2}"])
def test_wrong_assignments_are_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="--set"):
        parse_assignment(text)


def test_double_jpeg_pairs_replace_the_qualities() -> None:
    options = _load("pairs=[[10,90],[90,10],[75,95]]", name="test_colordouble.yml")
    assert [each.label for each in options.degradations()] == [
        *("QF10-90+0+0", "QF90-10+0+0", "QF75-95+0+0"),
        *("QF10-90+4+4", "QF90-10+4+4", "QF75-95+4+4"),
    ]
    for wrong in ("pairs=[[10,101]]", "pairs=[]", "pairs=[[10,90],[10,90]]"):
        with pytest.raises(OptionsError, match=r"pairs"):
            _load(wrong, name="test_colordouble.yml")


def test_sections_are_reached_by_dots() -> None:
    changes = [("network.widths", [8, 8, 16]), ("data.encoder_shares", {"wild": 1.0})]
    options = load_options(TrainOptions, SMALL, changes)
    assert options.network.widths == (8, 8, 16)
    assert options.data.compression().encoders == (("wild", 1.0),)
