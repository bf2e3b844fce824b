"""The paper's tables in one command: single, double and gray evaluation on every set that is found.

What was measured before with the same checkpoint, options and code is not measured again. `join`
puts finished runs side by side: python -m jobs.tables join --help.
"""

from __future__ import annotations

import utils.startup  # noqa: F401  must come first, see there

# isort: split
import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.datasets import (
    GRAY_SETS,
    SAMPLE,
    DatasetError,
    NamedImage,
    TestSet,
    has_testset,
    open_testset,
    set_name,
)
from jobs.evaluate import (
    PUBLISHED,
    AnyEvaluation,
    code_hash,
    open_entrants,
    require_apart,
    require_different_names,
    run_evaluation,
    tell_left_out,
)
from jobs.join import join, join_parser
from jobs.methods import identify, method_state
from jobs.network import USAGE_ERRORS
from jobs.report import REPORT
from options.command_line import (
    PROJECT,
    from_project,
    read_options,
    test_parser,
)
from options.schema import ColorTestOptions, DoubleTestOptions, OptionsError, parse_assignment
from utils.evaluation.journal import pixel_hash
from utils.evaluation.learned_metrics import MetricError
from utils.evaluation.published import PublishedRow, read_published, rows_for
from utils.evaluation.tables import (
    WEIGHTS_COLUMNS,
    SummaryRow,
    best_published,
    comparability,
    counted,
    csv_text,
    image_count,
    introduction,
    listed,
    more_metrics,
    read_summary,
    table_of_set,
    uneven_settings,
)
from utils.image_io import ImageError, write_atomically
from utils.run_log import RUN_FILE, read_run_file
from utils.scripts import EXIT_FAILED, run_script

EXAMPLES = """  make tables
  python -m jobs.tables --kinds single gray --testsets LIVE1_color Classic5
  python -m jobs.tables --checkpoint runs/mine/best.safetensors --output results/mine
  python -m jobs.tables --readme docs/results.md
  python -m jobs.tables join results/mine test_results/color
  torchrun --nproc_per_node=8 -m jobs.tables
"""


@dataclass(frozen=True)
class Kind:
    """One of the paper's protocols, and the sets it is reported on."""

    name: str
    heading: str
    option_file: str
    schema: type[AnyEvaluation]
    sets: tuple[str, ...]


COLOUR_SETS = (SAMPLE, "LIVE1_color", "BSDS500_color", "Urban100", "ICB_color", "Kodak24")
ONCE, TWICE = "options/test_color.yml", "options/test_colordouble.yml"

KINDS = (
    Kind("single", "Compressed once", ONCE, ColorTestOptions, COLOUR_SETS),
    Kind("gray", "Gray, compressed once", ONCE, ColorTestOptions, GRAY_SETS),
    Kind("double", "Compressed twice", TWICE, DoubleTestOptions, COLOUR_SETS),
)


@dataclass(frozen=True)
class Entry:
    """A measured set: its averages and what ``run.yml`` says of the run."""

    kind: Kind
    dataset: str
    rows: list[SummaryRow]
    run: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``python -m jobs.tables``; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["join"]:
        joined = join_parser().parse_args(arguments[1:])
        return run_script(lambda: _join(joined), USAGE_ERRORS)
    parser = test_parser(
        __doc__ or "",
        EXAMPLES,
        ONCE,
        "only these sets, names or paths (default: all known)",
        "a folder (default: results)",
        measures=True,
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[kind.name for kind in KINDS],
        default=[kind.name for kind in KINDS],
        help="protocols (default: all)",
    )
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help=f"put the tables into this Markdown file too, between {_BEGIN} and {_END}",
    )
    args = parser.parse_args(arguments)
    if args.opt != PROJECT / ONCE:
        parser.error("--opt: each protocol has its own option file; use --set")
    return run_script(lambda: _run(args), (*USAGE_ERRORS, DatasetError, MetricError))


def _join(args: argparse.Namespace) -> int:
    print(join(args.runs, args.output))
    if args.output is not None:
        print(f"tables: {args.output}")
    return 0


def _run(args: argparse.Namespace) -> int:
    if args.readme is not None:
        _split(args.readme)  # before hours of work
    for key, _ in map(parse_assignment, args.set):
        if key in ("testsets", "output", "name"):
            raise OptionsError(f"--set {key}: is set for each table; give --testsets or --output")
    output = Path(args.output or "results")
    wanted = [kind for kind in KINDS if kind.name in args.kinds]
    names = args.testsets or list(dict.fromkeys(name for kind in wanted for name in kind.sets))
    require_different_names(names)
    first = _options(args, wanted[0])
    root = from_project(first.testsets_folder)
    reported = [(kind, name) for kind in wanted for name in names if is_reported(kind, name)]
    missing = [name for _, name in reported if not has_testset(name, root)]
    found = [(kind, name) for kind, name in reported if name not in missing]
    if not reported:
        raise OptionsError(
            f"--kinds {' '.join(args.kinds)}: none of {', '.join(names)} is for these protocols"
        )
    if not found:
        raise OptionsError(f"none of {', '.join(names)} found; see testsets/README.md")
    entries: list[Entry] = []
    failed, text = False, ""
    with open_entrants(first) as entrants:
        networks, restorers = entrants
        world = restorers.world
        for kind, name in found:
            folder = output / kind.name / set_name(name)
            options = _options(args, kind, testsets=[name], output=str(folder)).model_copy(
                update={"name": f"{kind.name}_{set_name(name)}"}
            )
            testset = open_testset(name, root)
            require_apart([testset], folder)
            key, done = "", False
            if world.is_main:
                numbers = [restorers.arithmetic[network.path] for network in networks]
                key = fingerprint(options, testset, [restorers.device.type, *numbers])
                done = _is_measured(folder, key, options)
                if not done:
                    print(f"{kind.heading}: {name}", flush=True)
            if not world.gather(done)[0]:
                evaluation = run_evaluation(
                    options, [testset], entrants, {"fingerprint": key}, strict=False
                )
                failed |= bool(evaluation.failures)
                if world.is_main:
                    tell_left_out(evaluation)
            if world.is_main:
                run = read_run_file(folder / RUN_FILE)
                entries.append(Entry(kind, testset.name, read_summary(folder / "summary.csv"), run))
                # After every set: whoever stops this keeps what there is.
                text = _write(output, entries, missing)
        if world.is_main:
            if args.readme is not None:
                before, after = _split(args.readme)
                write_atomically(args.readme, f"{before}\n{text}{after}")
            print(f"\n{text}\ntables: {output / 'tables.md'}, {output / 'tables.csv'}")
    return EXIT_FAILED if failed else 0


def is_reported(kind: Kind, dataset: str) -> bool:
    """Whether a set is for a protocol: known ones as listed, others where their colours fit."""
    dataset = set_name(dataset)
    known = {name for each in KINDS for name in each.sets}
    if dataset in known:
        return dataset in kind.sets
    return dataset.endswith("_gray") == (kind.name == "gray")


def _options(args: argparse.Namespace, kind: Kind, **more: object) -> AnyEvaluation:
    """The options of a protocol's file, with what the command line says, and more arguments."""
    given = {**vars(args), "opt": PROJECT / kind.option_file, "testsets": None, "output": None}
    return read_options(kind.schema, argparse.Namespace(**{**given, **more}))


def fingerprint(options: AnyEvaluation, testset: TestSet, arithmetic: Sequence[str]) -> str:
    """SHA-256 over all that figures depend on: weights, options, pictures, arithmetic, code.

    arithmetic: the kind of device, and the numbers that each checkpoint computes in, never "auto".
    """
    content = options.model_dump(
        mode="json",
        exclude={
            *("checkpoint", "method", "device", "precision", "threads", "max_memory", "compile"),
            *("output", "save_images", "report", "name", "testsets_folder"),
        },
    )
    content["images"] = {image.name: _pixel_hash(image) for image in testset}
    content["arithmetic"] = list(arithmetic)
    networks = map(identify, options.checkpoint)
    content["checkpoint"] = [(each.name, each.sha256) for each in networks]
    content["method"] = [method_state(text) for text in options.method]
    content["code"] = code_hash()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _pixel_hash(image: NamedImage) -> str:
    """The same for copies, other file formats, and gray sets made from colour ones."""
    try:
        return pixel_hash(image.read())
    except ImageError:
        return "unreadable"


def _is_measured(folder: Path, wanted: str, options: AnyEvaluation) -> bool:
    run = read_run_file(folder / RUN_FILE)
    try:
        read_summary(folder / "summary.csv")
    except (OSError, ValueError):
        return False
    return (
        run.get("fingerprint") == wanted
        and "methods" in run
        and not run.get("images_left_out")
        and (not options.report or (folder / REPORT).exists())
        and options.save_images in ("none", *_saved(run))
    )


def _saved(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The wishes for pictures that a run has met."""
    saved = str((run.get("options") or {}).get("save_images"))
    return {"all": ("first", "all"), "first": ("first",)}.get(saved, ())


def _write(output: Path, entries: Sequence[Entry], missing: Sequence[str]) -> str:
    published = read_published(PUBLISHED, {entry.run["options"]["padding"] for entry in entries})
    write_atomically(output / "tables.csv", _csv(entries, published))
    protocols = {entry.run["protocol"] for entry in entries}
    lines = [
        *(_network_line(each) for each in entries[0].run["methods"]),
        *introduction([row for entry in entries for row in entry.rows]),
        *(["", *protocols] if len(protocols) == 1 else []),
    ]
    for kind in KINDS:
        of_kind = [entry for entry in entries if entry.kind is kind]
        if of_kind:
            lines += ["", f"### {kind.heading}"]
        for entry in of_kind:
            lines += [
                "",
                f"{entry.dataset}, {image_count(entry.rows)}, "
                f"{entry.run['restore_seconds_per_image']:.2f} s per image on "
                f"{entry.run['device']} ({entry.run['torch_threads']} threads):",
                "",
                *table_of_set(entry.rows, published),
                *(["", uneven] if (uneven := uneven_settings(entry.rows)) else []),
                *_without(entry),
                *(["", entry.run["protocol"]] if len(protocols) > 1 else []),
            ]
    if missing:
        lines += [
            "",
            f"Not found here: {', '.join(dict.fromkeys(missing))}. `python testsets/download.py "
            "NAME` fetches a set; see testsets/README.md.",
        ]
    text = "\n".join(lines) + "\n"
    write_atomically(output / "tables.md", f"# Tables\n\n{text}")
    return text


def _without(entry: Entry) -> list[str]:
    """Which images do not enter the means."""
    lines = []
    if left_out := entry.run.get("images_left_out", {}).get(entry.dataset):
        lines.append(f"Left out: {counted(len(left_out), 'image')} ({listed(left_out)}).")
    if exact := [row for row in entry.rows if row.exact]:
        counts = (f"{counted(r.exact, 'image')} by {r.method} at {r.setting}" for r in exact)
        lines.append(f"Exact, and not in the means of PSNR and PSNR-B: {', '.join(counts)}.")
    return [part for line in lines for part in ("", line)]


def _network_line(method: Mapping[str, Any]) -> str:
    return (
        f"{method['name']}: {Path(method['checkpoint']).name}, {method['parameters'] / 1e6:.1f} M "
        f"parameters, SHA-256 {method['sha256'][:12]}..."
    )


def _csv(entries: Sequence[Entry], published: Sequence[PublishedRow]) -> str:
    """Measured and published rows; what the network costs, and how far it is from the best."""
    rows: list[dict[str, object]] = []
    more = more_metrics([row for entry in entries for row in entry.rows])
    for entry in entries:
        others = () if comparability(entry.rows) else published
        networks = {each["name"]: each for each in entry.run["methods"]}
        protocol = {"protocol": entry.kind.name}
        for row in entry.rows:
            rows.append(
                {
                    **(protocol | vars(row) | {"source": "measured"}),
                    **{name: round(score, 4) for name, score in row.scores._asdict().items()},
                    **_costs(networks.get(row.method), row, others),
                    **dict(zip(WEIGHTS_COLUMNS, row.weights, strict=True)),
                    **{name: round(figure, 6) for name, figure in row.more.items()},
                }
            )
        for peer in rows_for(others, entry.dataset, {row.setting for row in entry.rows}):
            rows.append(protocol | vars(peer))
    return csv_text((*CSV_COLUMNS, *more), rows)


def _costs(
    network: Mapping[str, Any] | None, row: SummaryRow, published: Sequence[PublishedRow]
) -> dict[str, object]:
    """Of a network's row: parameters, seconds per image, dB above the best published, its name."""
    if network is None:
        return {}
    costs = {
        "parameters": network["parameters"],
        "seconds_per_image": network["restore_seconds_per_image"],
    }
    best = best_published(published, row.dataset, row.setting)
    if best is None or best.psnr is None:
        return costs
    above = round(row.scores.psnr - best.psnr, 4)
    return {**costs, "to_best_published": above, "best_published": best.method}


CSV_COLUMNS = (
    *("protocol", "dataset", "setting", "method", "source", "images", "exact"),
    *("psnr", "ssim", "psnrb"),
    *("parameters", "seconds_per_image", "to_best_published", "best_published"),
    *WEIGHTS_COLUMNS,
)

_BEGIN, _END = "<!-- tables -->", "<!-- /tables -->"


def _split(readme: Path) -> tuple[str, str]:
    """What stands before and after the tables of a Markdown file."""
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionsError(f"{readme}: {error.strerror or error}; give a Markdown file") from error
    if text.count(_BEGIN) != 1 or text.count(_END) != 1:
        raise OptionsError(f"{readme} must hold one line {_BEGIN} and one line {_END}")
    before, rest = text.split(_BEGIN)
    return before + _BEGIN, _END + rest.split(_END)[1]


if __name__ == "__main__":
    sys.exit(main())
