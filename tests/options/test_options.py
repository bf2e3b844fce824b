"""options/schema.py: the option files that ship, and every way to write a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data.degradation import Padding
from data.jpeg import Sampling
from models import IJCNConfig
from options.command_line import read_options
from options.command_line import test_parser as command_line_parser
from options.schema import (
    ColorTestOptions,
    DataOptions,
    DoubleTestOptions,
    LossOptions,
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

SHIPPED: dict[str, type[Options]] = {
    "test_color.yml": ColorTestOptions,
    "test_colordouble.yml": DoubleTestOptions,
    "test_real.yml": RealTestOptions,
    "demo.yml": ColorTestOptions,
    "train_small.yml": TrainOptions,
    "train_color.yml": TrainOptions,
    "train_colordouble.yml": TrainOptions,
    "train_finetune.yml": TrainOptions,
    "train_check.yml": TrainOptions,
    "train_confidence.yml": TrainOptions,
    "train_fast.yml": TrainOptions,
    "train_smoke.yml": TrainOptions,
}


def test_every_shipped_file_has_its_schema() -> None:
    assert {p.name for p in (ROOT / "options").glob("*.yml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load(name: str) -> None:
    load_options(SHIPPED[name], ROOT / "options" / name)


@pytest.mark.parametrize("name", [n for n in SHIPPED if n.startswith("test_")])
def test_shipped_test_files_list_every_option(name: str) -> None:
    text = (ROOT / "options" / name).read_text()
    for key in SHIPPED[name].model_fields:
        assert f"\n{key}:" in f"\n{text}", f"{name} does not show {key}"


def test_small_training_file_shows_every_option() -> None:
    text = (ROOT / "options" / "train_small.yml").read_text()
    shown = yaml.safe_load(text)
    sections = {
        "": TrainOptions.model_fields,
        "network": IJCNConfig.__dataclass_fields__,
        "data": DataOptions.model_fields,
        "loss": LossOptions.model_fields,
        "optimisation": OptimisationOptions.model_fields,
        "validation": ValidationOptions.model_fields,
    }
    for section, fields in sections.items():
        assert set(shown[section] if section else shown) == set(fields), section


def _load(overrides: list[str]) -> ColorTestOptions:
    pairs = [parse_assignment(text) for text in overrides]
    return load_options(ColorTestOptions, ROOT / "options" / "test_color.yml", pairs)


def test_overrides_replace_and_convert() -> None:
    options = _load(["qualities=[5, 100]", "padding=pad_first", "testsets=[A, B]", "name=x"])
    assert options.qualities == (5, 100)
    assert options.padding is Padding.PAD_FIRST
    assert options.testsets == ("A", "B")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("qualities=75", (75,)),
        ("qualities=10,40, 90", (10, 40, 90)),
        ("qualities=[75]", (75,)),
        ("sampling=444", (Sampling.S444,)),
        ("sampling=4:4:4", (Sampling.S444,)),
        ("sampling=[420, 4:4:4]", (Sampling.S420, Sampling.S444)),
        ("sampling=422,411", (Sampling.S422, Sampling.S411)),
        ("testsets=mine", ("mine",)),
        ("testsets=a,b", ("a,b",)),
        ("testsets=auto", "auto"),
        ("checkpoint=a.pth", ("a.pth",)),
        ("checkpoint=[a.pth, b=c.pth]", ("a.pth", "b=c.pth")),
        ("method=A=b", ("A=b",)),
    ],
)
def test_values_are_taken_as_people_type_them(text: str, values: object) -> None:
    assert getattr(_load([text]), text.partition("=")[0]) == values


def test_several_samplings_in_one_run() -> None:
    options = _load(["sampling=[420,444]", "qualities=10,40"])
    assert [each.label for each in options.degradations()] == [
        *("QF10", "QF40", "QF10_444", "QF40_444")
    ]
    path = ROOT / "options" / "test_colordouble.yml"
    pairs = [parse_assignment(x) for x in ("pairs=[10,90]", "shifts=4,4", "sampling=420,444")]
    labels = [each.label for each in load_options(DoubleTestOptions, path, pairs).degradations()]
    assert labels == ["QF10-90+4+4", "QF10-90+4+4_444"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "qualities=[0]"], ("--set qualities=[0]: ", "for example qualities=[10,20,")),
        (["--set", "qualities=ten"], ("--set qualities=ten: ", '"ten"', "qualities=[10,20,30,40]")),
        (["--set", "sampling=421"], ("--set sampling=421: ", "'4:2:0'", "sampling=4:2:0")),
        (["--set", "ensemble=3"], ("--set ensemble=3: ", "ensemble=1")),
        (["--set", "max_memory=-1"], ("--set max_memory=-1: ", "max_memory=4")),
        (["--set", "save_images=some"], ("--set save_images=some: ", "'first'")),
        (["--device", "tpu"], ("--device tpu: ", "device=auto")),
        (["--threads", "-1"], ("--threads -1: ", "threads=0")),
        (["--set", "qualites=3"], ("--set qualites=3: ", "did you mean qualities?")),
        (["--set", "name=a/b"], ("--set name=a/b: ", "name=color")),
        (["--set", "checkpoint=[]"], ("--set checkpoint=[]: ", "checkpoint=model_zoo/")),
    ],
)
def test_a_wrong_value_is_named_as_it_was_given_and_shown_a_right_one(
    arguments: list[str], words: tuple[str, ...]
) -> None:
    parser = command_line_parser("", "", "options/test_color.yml", "", measures=True)
    with pytest.raises(OptionsError) as caught:
        read_options(ColorTestOptions, parser.parse_args(arguments))
    for word in words:
        assert word in str(caught.value)
    assert ".yml" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_examples_in_messages_are_right_themselves() -> None:
    for schema, path in ((ColorTestOptions, "test_color"), (DoubleTestOptions, "test_colordouble")):
        for key in schema.model_fields:
            with pytest.raises(OptionsError) as caught:
                load_options(schema, ROOT / f"options/{path}.yml", [(key, {"wrong": 1})])
            _, _, example = str(caught.value).partition("; for example ")
            assert example.startswith(f"{key}="), caught.value
            load_options(schema, ROOT / f"options/{path}.yml", [parse_assignment(example)])


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


def test_sections_are_reached_by_dots() -> None:
    path = ROOT / "options" / "train_small.yml"
    options = load_options(TrainOptions, path, [("network.widths", [8, 8, 16])])
    assert options.network.widths == (8, 8, 16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qualites=[10]", "did you mean qualities?"),
        ("colour=3", "unknown option colour; known are"),
        ("qualities=[10, 101]", "qualities.1"),
        ("qualities=[ten]", "qualities.0"),
        ("qualities=[]", "qualities"),
        ("qualities=[true]", "qualities.0"),
        ("padding=somewhere", "padding"),
        ("threads=-1", "threads"),
        ("threads=2.5", "threads"),
        ("device=tpu", "device"),
        ("sampling=4:2:1", '"4:2:1"'),
        ("qualities=[10, 10]", "once"),
        ("qualities=[010]", "qualities.0"),
        ("save_images=some", "save_images"),
        ("name=a/b", "name"),
    ],
)
def test_wrong_options_are_one_line_that_names_the_key(text: str, words: str) -> None:
    with pytest.raises(OptionsError) as caught:
        _load([text])
    message = str(caught.value)
    assert words in message
    assert "test_color.yml" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("network.width", [1, 2, 3], "did you mean widths?"),
        ("network.activation", "gelu", "network.activation"),
        ("network.widths", [1, 2], "network.widths"),
        ("optimisation.step", 3, "did you mean steps?"),
        ("data.patch", 100, "data.patch"),
        ("data.lowest_quality", 101, "data.lowest_quality"),
        ("data.fine_share", 0.6, "exceed 1"),
        ("data.workers", -1, "data.workers"),
        ("optimisation.milestones", [400, 200], "milestones must increase"),
        ("optimisation.schedule", "multistep", "needs milestones"),
        ("optimisation.warmup_steps", 6400, "fewer than steps"),
        ("optimisation.accumulate", 3, "multiple of optimisation.accumulate"),
        ("loss.penalty", "l2", "loss.penalty"),
    ],
)
def test_wrong_sections_are_one_line_that_names_the_key(
    key: str, value: object, words: str
) -> None:
    with pytest.raises(OptionsError) as caught:
        load_options(TrainOptions, ROOT / "options" / "train_small.yml", [(key, value)])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_contradictions_are_refused() -> None:
    overrides = [("data.lowest_quality", 80), ("data.highest_quality", 20)]
    with pytest.raises(OptionsError, match="exceeds the highest"):
        load_options(TrainOptions, ROOT / "options" / "train_small.yml", overrides)


@pytest.mark.parametrize(
    ("content", "words"),
    [("a: [", "not YAML"), ("- 1", "must hold"), ("", "must hold"), ("name: x", "missing")],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "x.yml"
    path.write_text(content)
    with pytest.raises(OptionsError, match=words):
        load_options(ColorTestOptions, path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="options/ holds examples"):
        load_options(ColorTestOptions, tmp_path / "none.yml")


@pytest.mark.parametrize("text", ["qualities", "=3", "x=[1"])
def test_wrong_assignments_are_refused(text: str) -> None:
    with pytest.raises(OptionsError, match="--set"):
        parse_assignment(text)


def test_double_jpeg_pairs_replace_the_qualities() -> None:
    path = ROOT / "options" / "test_colordouble.yml"
    far_apart = [parse_assignment("pairs=[[10,90],[90,10],[75,95],[95,75]]")]
    labels = [d.label for d in load_options(DoubleTestOptions, path, far_apart).degradations()]
    assert labels == [
        *("QF10-90+0+0", "QF90-10+0+0", "QF75-95+0+0", "QF95-75+0+0"),
        *("QF10-90+4+4", "QF90-10+4+4", "QF75-95+4+4", "QF95-75+4+4"),
    ]
    for wrong in ("pairs=[[10,101]]", "pairs=[]", "pairs=[[10,90],[10,90]]"):
        with pytest.raises(OptionsError, match=r"pairs"):
            load_options(DoubleTestOptions, path, [parse_assignment(wrong)])


def test_shares_of_encoders_are_checked() -> None:
    path = ROOT / "options" / "train_small.yml"
    wild = load_options(TrainOptions, path, [("data.encoder_shares", {"wild": 1.0})])
    assert wild.data.compression().encoders == (("wild", 1.0),)
    with pytest.raises(OptionsError, match=r"shares of the encoders must add up to 1, not 0.5$"):
        load_options(TrainOptions, path, [("data.encoder_shares", {"wild": 0.5})])
    with pytest.raises(OptionsError, match=r"drawn_share 0.8 and desaturated_share 0.3 exceed 1"):
        load_options(
            TrainOptions, path, [("data.drawn_share", 0.8), ("data.desaturated_share", 0.3)]
        )
