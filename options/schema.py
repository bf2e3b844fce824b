"""Typed options: every option file is parsed once, here, and refused here.

An unknown key is an error that names the nearest known one; a value of the wrong type or range is
an error that says what was expected. Below ``main`` only these classes travel, never dictionaries.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from enum import Enum
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
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from data.degradation import LIBJPEG, DoubleJpeg, Padding, RandomCompression, SingleJpeg
from data.drawn import KINDS
from data.jpeg import Sampling
from models.checkpoint import SHIPPED
from models.ijcn import LAST_STEPS, IJCNConfig, LastStep
from models.losses import RestorationLoss
from models.restore.restorer import Ensemble, Precision
from utils.checked import CHECKED, Count, Natural, NotNegative, Positive, Share
from utils.evaluation.evaluate import SaveImages
from utils.picture_files import FORMATS, Format
from utils.training.schedule import Recipe


def _without_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("each value may stand there once")
    return values


def _several(value: Any) -> Any:
    """A list as people type it: one value, values with commas between, or a list."""
    if isinstance(value, str) and "," in value:
        value = [_number(part.strip()) for part in value.split(",")]
    return _as_list(value)


def _as_list(value: Any) -> Any:
    """One value, or a list; commas may be part of a path."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(each) if isinstance(each, Path) else each for each in values)


def _several_pairs(value: Any) -> Any:
    """Pairs as people type them: one, or a list of them."""
    values = tuple(tuple(v) if isinstance(v, list) else v for v in _several(value))
    return values if any(isinstance(each, tuple) for each in values) else (values,)


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"0|[1-9]\d*", text) else text


def _sampling(value: Any) -> Any:
    """``444`` or ``4:4:4``, as text or number."""
    digits = str(value).replace(":", "")
    return next((each for each in Sampling if each.digits == digits), value)


def _names_or_auto(value: Any) -> Any:
    return value if value == "auto" else _as_list(value)


T = TypeVar("T")
Several = Annotated[
    tuple[T, ...],
    BeforeValidator(_several),
    Field(min_length=1),
    AfterValidator(_without_repeats),
]
SeveralPairs = Annotated[
    tuple[tuple[T, T], ...],
    BeforeValidator(_several_pairs),
    Field(min_length=1),
    AfterValidator(_without_repeats),
]
Quality = Annotated[int, Field(ge=1, le=100)]
Qualities = Several[Quality]
Samplings = Several[Annotated[Sampling, BeforeValidator(_sampling)]]
Metrics = Annotated[
    Several[Literal["psnr", "ssim", "psnrb", "psnr_y", "ssim_y", "lpips", "dists"]],
    Field(examples=["[psnr,ssim,psnrb,psnr_y,ssim_y]"]),
]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


def _shipped_file(path: Path) -> Path:
    """What ``fast`` and the like stand for, so that a run's record names the file."""
    return SHIPPED.get(str(path), path)


def _expanded(value: Any) -> Any:
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


class OptionsError(ValueError):
    """Options that cannot be used; the message is one line: where, what, what to do."""


class Options(BaseModel):
    """Base: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(**CHECKED, frozen=True)

    @field_validator("*")
    @classmethod
    def _home(cls, value: Any) -> Any:
        """Paths with "~" expanded, as shells do it."""
        if isinstance(value, tuple):
            return tuple(map(_expanded, value))
        return _expanded(value)


class ComputeOptions(Options):
    """Where and how networks restore."""

    device: Device = "auto"
    precision: Precision = "auto"
    max_memory: Annotated[Positive | None, Field(examples=["4"])] = None
    compile: bool = False
    ensemble: Ensemble = 1
    leave_fine: bool = True
    strength: Share = 1.0
    threads: Natural = 0
    output: Path = Path("test_results")


class InferenceOptions(ComputeOptions):
    """What every script that restores needs."""

    checkpoint: Annotated[Path, AfterValidator(_shipped_file)]


class EvaluationOptions(ComputeOptions):
    """What every script that measures needs.

    checkpoint: weights: full, fast or a path, or NAME=PATH. method: NAME=FOLDER of pictures
    that another program restored, or jpegqs.
    """

    checkpoint: Annotated[
        tuple[str, ...],
        BeforeValidator(_as_list),
        Field(min_length=1, examples=["model_zoo/Color_IJCN.safetensors"]),
    ]
    method: Annotated[
        tuple[str, ...], BeforeValidator(_as_list), Field(examples=["FBCNN=results/fbcnn"])
    ] = ()
    name: Annotated[str, Field(pattern=r"^[\w.-]+$", examples=["color"])]
    testsets: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | Literal["auto"],
        BeforeValidator(_names_or_auto),
        Field(examples=["[LIVE1_color,path/to/folder]"]),
    ] = "auto"
    testsets_folder: Path = Path("testsets")
    sampling: Samplings = (Sampling.S420,)
    padding: Padding = Padding.AS_STORED
    metrics: Metrics = ("psnr", "ssim", "psnrb")
    save_images: SaveImages = "first"
    report: bool = False


class ColorTestOptions(EvaluationOptions):
    """``test_color_IJCN.py``: one compression."""

    qualities: Qualities = (10, 20, 30, 40)

    def degradations(self) -> list[SingleJpeg]:
        """One compression at each quality."""
        return [
            SingleJpeg(quality, sampling, self.padding)
            for sampling, quality in product(self.sampling, self.qualities)
        ]


class DoubleTestOptions(EvaluationOptions):
    """``test_colordouble_IJCN.py``: every first quality with every second one, at every shift."""

    qualities: Qualities = (30, 50)
    second_qualities: Annotated[Qualities | None, Field(examples=["[10,95]"])] = None
    pairs: Annotated[SeveralPairs[Quality] | None, Field(examples=["[[10,90],[90,10]]"])] = None
    shifts: SeveralPairs[Natural] = ((0, 0), (4, 4))

    def degradations(self) -> list[DoubleJpeg]:
        """Every first quality with every second one, or the given pairs, at each shift."""
        second = self.second_qualities or self.qualities
        pairs = self.pairs or tuple(product(self.qualities, second))
        return [
            DoubleJpeg(first, second, shift, sampling, self.padding)
            for sampling, shift, (first, second) in product(self.sampling, self.shifts, pairs)
        ]


class RealTestOptions(InferenceOptions):
    """``test_real_IJCN.py``: picture files in, restored files out."""

    input: Annotated[tuple[Path, ...], Field(min_length=1)] | None = None
    testsets: Annotated[tuple[str, ...], Field(min_length=1)] = ("Real",)
    testsets_folder: Path = Path("testsets")
    all_pictures: bool = False
    format: Format = "png"
    quality: Quality = 95
    below: Quality | None = None
    assume_quality: Quality | None = None
    keep_cmyk: bool = False
    dry_run: bool = False
    suffix: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None
    keep_times: bool = True
    overwrite: bool = False
    compare: bool = False
    report: bool = False
    max_pixels: Positive = 200.0
    json_report: Path | None = None

    @property
    def is_one_file(self) -> bool:
        """Whether ``output`` is a picture file's name instead of a folder's."""
        named = self.output.suffix.lower() in FORMATS and not os.path.isdir(self.output)
        return named and self.suffix is None

    @property
    def written_format(self) -> Format:
        """Of the results: ``format``, or what the name of the only one says."""
        return FORMATS[self.output.suffix.lower()] if self.is_one_file else self.format

    @model_validator(mode="after")
    def _consistent(self) -> RealTestOptions:
        written = self.written_format
        if self.is_one_file and self.report:
            raise ValueError(f"a report needs a folder, output {self.output} is a file")
        if self.keep_cmyk and written not in ("jpg", "tiff"):
            raise ValueError(
                f"keep_cmyk needs a format that holds CMYK, not {written}; "
                "add --format tiff or --format jpg"
            )
        return self


class DataOptions(Options):
    """Where training crops come from and how they are compressed.

    stored_crops: where only last steps are trained, so many crops are made and answered by the
        finished parts once, then learned from again and again; 0: new crops in every step.
    """

    folders: Annotated[tuple[Path, ...], BeforeValidator(_as_list), Field(min_length=1)]
    patch: Annotated[int, Field(ge=64, multiple_of=64)] = 128
    batch: Count = 8
    candidates: Count = 1
    smallest_scale: Annotated[float, Field(ge=0.1, le=1)] = 1.0
    memory_gib: NotNegative = 8.0
    workers: Natural | Literal["auto"] = "auto"
    listed_qualities: Annotated[tuple[Quality, ...], BeforeValidator(_several)] = (10, 20, 30, 40)
    listed_share: Share = 0.5
    fine_share: Share = 0.0
    lowest_quality: Quality = 5
    highest_quality: Quality = 100
    double_share: Share = 0.0
    sampling_shares: dict[str, Share] = {Sampling.S420.value: 1.0}
    encoder_shares: dict[str, Share] = {LIBJPEG: 1.0}
    drawn_share: Share = 0.0
    drawn_kinds: Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)] = tuple(
        KINDS
    )
    desaturated_share: Share = 0.0
    smooth_chroma_share: Share = 0.0
    stored_crops: Natural = 0

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
        shares = self.drawn_share, self.desaturated_share, self.smooth_chroma_share
        if sum(shares) > 1 + 1e-6:
            raise ValueError(
                "drawn_share {}, desaturated_share {} and smooth_chroma_share {} exceed 1 "
                "together".format(*shares)
            )
        if unknown := set(self.drawn_kinds) - set(KINDS):
            raise ValueError(
                f"drawn_kinds: unknown {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}"
            )
        self.compression()
        return self


def _known_part(name: str) -> str:
    known = ("logm", "qtgm", "backbone", *LAST_STEPS)
    if name not in known:
        raise ValueError(f"input should be one of {', '.join(known)}")
    return name


Part = Annotated[str, AfterValidator(_known_part)]
"""Of the network: an attribute of :class:`models.ijcn.IJCN`."""


@dataclass(frozen=True, config=CHECKED)
class OptimisationOptions(Recipe):
    """Optimiser, course of the learning rate, EMA of the weights, which parts are trained."""

    compile: bool = False
    parts: Annotated[tuple[Part, ...], BeforeValidator(_several)] = ()


class ValidationOptions(Options):
    """Gain over JPEG on a folder that is neither for training nor for testing."""

    folder: Path
    qualities: Qualities = (10, 40, 90)
    crop: Annotated[int, Field(ge=16)] = 256
    every_steps: Count = 500
    pictures: Natural = 4
    other_kinds: bool = False


class TrainOptions(Options):
    """``main_train_IJCN.py``.

    add: widths of last steps that the network gets if it lacks them or has narrower ones.
    """

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    output: Path = Path("runs")
    initial: Path | None = None
    seed: Annotated[Natural, Field(lt=2**63)] = 0
    device: Device = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # float16 would underflow
    threads: Natural = 0
    save_minutes: Positive = 5.0
    report_steps: Count = 50
    tensorboard: bool = True
    profile: bool = False
    network: IJCNConfig | None = None
    add: Annotated[dict[LastStep, Count], Field(examples=["{confidence: 32}"])] = {}
    data: DataOptions
    loss: RestorationLoss = RestorationLoss()
    optimisation: OptimisationOptions
    validation: ValidationOptions | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TrainOptions:
        if self.data.stored_crops:
            parts = set(self.optimisation.parts)
            if not parts or parts - set(LAST_STEPS):
                raise ValueError(
                    "data.stored_crops needs all before the last stage to be finished; set "
                    "optimisation.parts to [level_check], [confidence] or both, or "
                    "data.stored_crops to 0"
                )
            if self.data.stored_crops < self.data.batch:
                raise ValueError(
                    f"data.stored_crops {self.data.stored_crops} is below data.batch "
                    f"{self.data.batch}; store more, or make the batch smaller"
                )
        return self


AnyOptions = TypeVar("AnyOptions", bound=Options)


def load_options(
    schema: type[AnyOptions],
    path: Path,
    overrides: Sequence[tuple[str, Any]] = (),
    given: Mapping[str, str] | None = None,
) -> AnyOptions:
    """Read a YAML option file, apply overrides, check everything.

    Args:
        schema: which options the file must hold.
        path: the YAML file.
        overrides: (dotted key, value) pairs that replace the file's values, later ones win.
        given: how overrides were typed, by their dotted keys; messages name them so.

    Raises:
        OptionsError: no such file, not YAML, unknown key, wrong type or range.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise OptionsError(
            f"option file {path}: {error.strerror or error}; options/ holds examples"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of text, numbers, nesting
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
            raise OptionsError(_first_complaint(error, schema, path, given or {})) from error
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionsError(f"--set {text}: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers of YAML 1.2: 1e-3 is one, and 4:2:0 or 010 are not.

    YAML 1.1 takes the first for text, the second for base 60 and the third for octal. Dates are
    text, and no key may be there twice.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As YAML has it, but for keys that are there twice, of which PyYAML takes the last."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1 and key != "<<"]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_DROPPED_TAGS = (*_NUMBER_TAGS, "tag:yaml.org,2002:timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _DROPPED_TAGS]
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
        if text == "":  # as a path it would be the current folder
            raise OptionsError(f"{dotted}: empty text; give a value (is a shell variable unset?)")
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


def _first_complaint(
    error: ValidationError, schema: type[BaseModel], path: Path, given: Mapping[str, str]
) -> str:
    """The first problem in one line: where it was given, dotted key, value, what was expected."""
    # Unknown keys first: a typo is the likeliest cause of whatever else is wrong.
    detail = min(error.errors(), key=lambda each: each["type"] not in _UNKNOWN)
    parts = [part for part in detail["loc"] if not str(part).startswith(_NOT_KEYS)]
    key = ".".join(map(str, parts))
    typed = (text for name, text in given.items() if f"{key}.".startswith(f"{name}."))
    place = str(path)
    if given and not key:  # options that do not fit together may come from both
        place += f" with {', '.join(given.values())}"
    return f"{next(typed, place)}: {_complaint(detail, key, parts, schema)}"


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls the complaint of an unknown key, in a section or a dataclass."""

_NOT_KEYS = ("tuple", "literal", "function-", "constrained-", "nullable")
"""What pydantic puts between the keys of a value that may be of several types."""


def _complaint(detail: Any, key: str, parts: Sequence[Any], schema: type[BaseModel]) -> str:
    if detail["type"] in _UNKNOWN:
        known = list(_fields(schema, detail["loc"][:-1]))
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        known_as = ".".join([*map(str, parts[:-1]), *near])
        hint = f"did you mean {known_as}?" if near else f"known are {', '.join(sorted(known))}"
        return f"unknown option {key}; {hint}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return message
    value = detail["input"]
    if detail["type"] == "value_error" and isinstance(value, dict):
        return f"{key}: {message}"  # of a whole section; the message names what is wrong in it
    text = f"{key}: {message[0].lower()}{message[1:]}, got {json.dumps(value, default=_plain)}"
    if value is None and ":" in str(parts[-1]):
        return f"{text}; write a space after the colon"
    example = _example(schema, parts)
    return f"{text}; for example {example}" if example else text


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _example(schema: type, parts: Sequence[Any]) -> str:
    """A right value of an option as one would type it, ``key=value``; empty if none is known."""
    names = [str(part) for part in parts if not isinstance(part, int)]
    *sections, name = names
    fields = _fields(schema, sections)
    field = fields.get(name)
    if field is None:
        return ""
    default = getattr(field, "default", None)
    if examples := getattr(field, "examples", None):
        value = examples[0]
    elif isinstance(default, bool | int | float | str | tuple | dict | Enum | Path):
        one = default[0] if isinstance(default, tuple) and len(default) == 1 else default
        value = json.dumps(one, default=_plain, separators=(",", ":"))
        if not isinstance(one, dict):
            value = value.replace('"', "")  # as one types it
    else:
        return ""
    return f"{'.'.join(names)}={value}"


def _fields(schema: type, location: Sequence[Any]) -> Mapping[str, Any]:
    """Fields by name of the section at ``location`` below ``schema``."""
    for part in location:
        field = getattr(schema, "model_fields", {}).get(part)
        if field is None:
            break
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        schema = next(
            (c for c in candidates if isinstance(c, type) and hasattr(c, "__annotations__")), schema
        )
    fields: Mapping[str, Any] | None = getattr(schema, "model_fields", None)
    return fields or getattr(schema, "__dataclass_fields__", {})
