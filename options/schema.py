"""Typed options: every option file is parsed once, here, and refused here.

An unknown key is an error that names the nearest known one; a value of the wrong type or range is
an error that says what was expected. Below ``main`` only these classes travel, never dictionaries.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from data.degradation import LIBJPEG, DoubleJpeg, Padding, RandomCompression, SingleJpeg
from data.jpeg import Sampling
from models.ijcn import IJCNConfig
from models.losses import Penalty
from models.restorer import Ensemble, Precision
from utils.evaluation import SaveImages
from utils.optimisers import OptimiserKind
from utils.picture_files import Format
from utils.schedule import Schedule, ScheduleKind


def _without_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each value may stand there once")
    return values


Quality = Annotated[int, Field(ge=1, le=100)]
Qualities = Annotated[tuple[Quality, ...], Field(min_length=1), AfterValidator(_without_repeats)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class OptionsError(ValueError):
    """Options that cannot be used; the message is one line: where, what, what to do."""


class Options(BaseModel):
    """Base: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ComputeOptions(Options):
    """Where and how networks restore."""

    device: Device = "auto"
    precision: Precision = "auto"
    max_memory: Annotated[float, Field(gt=0)] | None = None
    compile: bool = False
    ensemble: Ensemble = 1
    leave_fine: bool = True
    threads: Annotated[int, Field(ge=0)] = 0
    output: Path = Path("test_results")


class InferenceOptions(ComputeOptions):
    """What every script that restores needs."""

    checkpoint: Path


def _several(value: Any) -> Any:
    """One value is a list of one, as people type it."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(each) if isinstance(each, Path) else each for each in values)


class EvaluationOptions(ComputeOptions):
    """What every script that measures needs.

    checkpoint: paths of weights, or NAME=PATH. method: NAME=FOLDER of pictures that another program
    restored, or jpegqs.
    """

    checkpoint: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]
    method: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    testsets: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["auto"] = "auto"
    testsets_folder: Path = Path("testsets")
    sampling: Sampling = Sampling.S420
    padding: Padding = Padding.AS_STORED
    save_images: SaveImages = "first"
    report: bool = False


class ColorTestOptions(EvaluationOptions):
    """``test_color_IJCN.py``: one compression."""

    qualities: Qualities = (10, 20, 30, 40)

    def degradations(self) -> list[SingleJpeg]:
        """One compression at each quality."""
        return [SingleJpeg(quality, self.sampling, self.padding) for quality in self.qualities]


class DoubleTestOptions(EvaluationOptions):
    """``test_colordouble_IJCN.py``: every first quality with every second one, at every shift."""

    qualities: Qualities = (30, 50)
    second_qualities: Qualities | None = None
    pairs: (
        Annotated[
            tuple[tuple[Quality, Quality], ...],
            Field(min_length=1),
            AfterValidator(_without_repeats),
        ]
        | None
    ) = None
    shifts: Annotated[
        tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...],
        Field(min_length=1),
        AfterValidator(_without_repeats),
    ] = ((0, 0), (4, 4))

    def degradations(self) -> list[DoubleJpeg]:
        """Every first quality with every second one, or the given pairs, at each shift."""
        second = self.second_qualities or self.qualities
        pairs = self.pairs or tuple(product(self.qualities, second))
        return [
            DoubleJpeg(first, second, shift, self.sampling, self.padding)
            for shift, (first, second) in product(self.shifts, pairs)
        ]


class RealTestOptions(InferenceOptions):
    """``test_real_IJCN.py``: picture files in, restored files out."""

    input: Annotated[tuple[Path, ...], Field(min_length=1)] | None = None
    testsets: Annotated[tuple[str, ...], Field(min_length=1)] = ("Real",)
    testsets_folder: Path = Path("testsets")
    all_pictures: bool = False
    format: Format = "png"
    quality: Quality = 95
    overwrite: bool = False
    compare: bool = False
    report: bool = False
    max_pixels: Annotated[float, Field(gt=0)] = 200.0
    json_report: Path | None = None


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class DataOptions(Options):
    """Where training crops come from and how they are compressed."""

    folders: Annotated[tuple[Path, ...], Field(min_length=1)]
    patch: Annotated[int, Field(ge=64, multiple_of=64)] = 128
    batch: Count = 8
    candidates: Count = 1
    memory_gib: Annotated[float, Field(ge=0)] = 8.0
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    listed_qualities: tuple[Quality, ...] = (10, 20, 30, 40)
    listed_share: Share = 0.5
    fine_share: Share = 0.0
    lowest_quality: Quality = 5
    highest_quality: Quality = 100
    double_share: Share = 0.0
    sampling_shares: dict[str, Share] = {Sampling.S420.value: 1.0}
    encoder_shares: dict[str, Share] = {LIBJPEG: 1.0}
    drawn_share: Share = 0.0
    desaturated_share: Share = 0.0

    def compression(self) -> RandomCompression:
        """The degradation these options describe."""
        return RandomCompression(
            self.listed_qualities,
            self.listed_share,
            self.lowest_quality,
            self.highest_quality,
            self.double_share,
            self.fine_share,
            tuple(self.sampling_shares.items()),
            tuple(self.encoder_shares.items()),
        )

    @model_validator(mode="after")
    def _consistent(self) -> DataOptions:
        if self.drawn_share + self.desaturated_share > 1:
            raise ValueError(
                f"drawn_share {self.drawn_share} and desaturated_share {self.desaturated_share} "
                "exceed 1 together"
            )
        self.compression()
        return self


class LossOptions(Options):
    """Terms of the loss, see models.losses.RestorationLoss."""

    penalty: Penalty = "charbonnier"
    epsilon: Positive = 1e-3
    first_weight: Annotated[float, Field(ge=0)] = 0.0
    level_weight: Annotated[float, Field(ge=0)] = 0.0
    balance_qualities: bool = True


class OptimisationOptions(Options):
    """Optimiser, course of the learning rate, EMA of the weights."""

    optimiser: OptimiserKind = "adamw"
    kernel_rate: Positive = 0.4
    steps: Count
    learning_rate: Positive = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    schedule: ScheduleKind = "trapezoid"
    cooldown_share: Share = 0.25
    final_share: Share = 0.02
    milestones: tuple[Count, ...] = ()
    milestone_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.99,
    )
    clip_norm: Positive = 1.0
    accumulate: Count = 1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    compile: bool = False
    parts: tuple[Literal["logm", "qtgm", "backbone", "level_check"], ...] = ()

    def course(self) -> Schedule:
        """The learning rate by step."""
        return Schedule(
            self.steps,
            self.learning_rate,
            self.warmup_steps,
            self.schedule,
            self.cooldown_share,
            self.final_share,
            self.milestones,
            self.milestone_factor,
        )

    @model_validator(mode="after")
    def _consistent(self) -> OptimisationOptions:
        self.course()
        return self


class ValidationOptions(Options):
    """Gain over JPEG on a folder that is neither for training nor for testing."""

    folder: Path
    qualities: Qualities = (10, 40, 90)
    crop: Annotated[int, Field(ge=16)] = 256
    every_steps: Count = 500
    pictures: Annotated[int, Field(ge=0)] = 4
    other_kinds: bool = False


class TrainOptions(Options):
    """``main_train_IJCN.py``."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    output: Path = Path("runs")
    initial: Path | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    device: Device = "auto"
    precision: Precision = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    save_minutes: Positive = 5.0
    report_steps: Count = 50
    tensorboard: bool = True
    network: IJCNConfig | None = None
    data: DataOptions
    loss: LossOptions = LossOptions()
    optimisation: OptimisationOptions
    validation: ValidationOptions | None = None

    @model_validator(mode="after")
    def _divisible(self) -> TrainOptions:
        if self.data.batch % self.optimisation.accumulate:
            raise ValueError(
                f"data.batch {self.data.batch} must be a multiple of optimisation.accumulate "
                f"{self.optimisation.accumulate}"
            )
        return self


AnyOptions = TypeVar("AnyOptions", bound=Options)


def load_options(
    schema: type[AnyOptions], path: Path, overrides: Sequence[tuple[str, Any]] = ()
) -> AnyOptions:
    """Read a YAML option file, apply overrides, check everything.

    Args:
        schema: which options the file must hold.
        path: the YAML file.
        overrides: (dotted key, value) pairs that replace the file's values, later ones win.

    Raises:
        OptionsError: no such file, not YAML, unknown key, wrong type or range.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise OptionsError(
            f"option file {path}: {error.strerror or error}; options/ holds examples"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionsError(
            f"option file {path} is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise OptionsError(f"option file {path} must hold 'key: value' lines")
    for key, value in overrides:
        _override(content, key, value)
    try:
        # JSON mode takes lists for tuples and strings for paths, yet stays strict otherwise.
        return schema.model_validate_json(json.dumps(content))
    except (TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise OptionsError(f"{path}: {_first_complaint(error, schema)}") from error
        raise OptionsError(f"{path}: {error}") from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """``key=value`` of ``--set``; the value is YAML: ``qualities=[10,90]``, ``padding=pad_first``.

    Raises:
        OptionsError: no equals sign, or no YAML behind it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise OptionsError(f"--set {text}: expected key=value, such as qualities=[10,20]")
    try:
        return key, yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        raise OptionsError(f"--set {text}: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers of YAML 1.2: 1e-3 is one, and 4:2:0 or 010 are not.

    YAML 1.1 takes the first for text, the second for base 60 and the third for octal.
    """


_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in zip(
    _NUMBER_TAGS,
    (r"^[-+]?(0|[1-9]\d*)$", r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$"),
    strict=True,
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+0123456789."))


def _override(content: dict[str, Any], dotted: str, value: Any) -> None:
    for text in value if isinstance(value, list) else [value]:
        try:
            str(text).encode()
        except UnicodeEncodeError as error:
            raise OptionsError(
                f"{dotted}: {os.fsencode(str(text))!r} is not UTF-8; rename it, or name the folder "
                "that it is in"
            ) from error
    *sections, key = dotted.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise OptionsError(f"--set {dotted}: {section} is not a section")
        content = inner
    content[key] = value


def _first_complaint(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first problem in one line: dotted key, value, what was expected."""
    # Unknown keys first: a typo is the likeliest cause of whatever else is wrong.
    details = sorted(
        error.errors(),
        key=lambda e: e["type"] not in ("extra_forbidden", "unexpected_keyword_argument"),
    )
    detail = details[0]
    key = ".".join(
        str(part) for part in detail["loc"] if not str(part).startswith(("tuple", "literal"))
    )
    if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_keys(schema, detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        return f"unknown option {key}; {hint}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return message
    value = detail["input"]
    if detail["type"] == "value_error" and isinstance(value, dict):
        return f"{key}: {message}"  # of a whole section; the message names what is wrong in it
    return f"{key}: {message[0].lower()}{message[1:]}, got {json.dumps(value, default=str)}"


def _known_keys(schema: type, location: Sequence[Any]) -> list[str]:
    """Field names of the section at ``location`` below ``schema``."""
    for part in location:
        field = getattr(schema, "model_fields", {}).get(part)
        if field is None:
            break
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        schema = next(
            (c for c in candidates if isinstance(c, type) and hasattr(c, "__annotations__")), schema
        )
    fields = getattr(schema, "model_fields", None) or getattr(schema, "__dataclass_fields__", {})
    return list(fields)
