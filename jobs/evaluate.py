"""The job of the measuring scripts: options, network, sets -> evaluator -> tables, run.yml."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from data.datasets import SAMPLE, DatasetError, TestSet, has_testset, open_testset, set_name
from data.degradation import Padding
from data.jpeg import encoder_version
from jobs.methods import Network, identify, other_methods, require_different_methods
from jobs.network import USAGE_ERRORS, Networks, describe_machine, open_networks
from jobs.report import (
    REPORT,
    remove_unwanted_pictures,
    report_evaluation,
    require_own_records,
)
from options.command_line import (
    PROJECT,
    from_project,
    read_options,
    test_parser,
)
from options.schema import ColorTestOptions, DoubleTestOptions, EvaluationOptions
from utils.commands import as_started
from utils.distributed import World, world_from_environment
from utils.evaluation.evaluate import (
    Method,
    Restore,
    evaluate_methods,
    picture_folders,
    picture_paths,
)
from utils.evaluation.journal import Journal
from utils.evaluation.learned_metrics import CLASSES, LearnedMetric, MetricError
from utils.evaluation.metrics import METRICS, Metric
from utils.evaluation.published import read_published
from utils.evaluation.tables import Cost, Evaluation, Weights, write_tables
from utils.image_io import ImageError, require_writable
from utils.run_log import RUN_FILE, alone_in, describe_run, file_hash, write_run_file
from utils.scripts import EXIT_FAILED, run_script

DEFAULT_SET = "LIVE1_color"

AnyEvaluation: TypeAlias = ColorTestOptions | DoubleTestOptions


def evaluation_main(
    description: str | None,
    examples: str,
    default_options: str,
    schema: type[AnyEvaluation],
    default_output: str,
) -> int:
    """Body of a measuring script; returns its exit code.

    Args:
        description: for ``--help``.
        examples: likewise.
        default_options: option file, relative to the project's root.
        schema: type of the options.
        default_output: the folder that the option file names.
    """
    parser = test_parser(
        description or "",
        examples,
        default_options,
        f"sets to measure: names, or paths of folders; {SAMPLE} is built in",
        f"a folder (default: {default_output})",
        measures=True,
    )
    args = parser.parse_args()
    return run_script(lambda: _run(schema, args), (*USAGE_ERRORS, DatasetError, MetricError))


def _run(schema: type[AnyEvaluation], args: argparse.Namespace) -> int:
    options = read_options(schema, args)
    sets = _open_sets(options)
    require_apart(sets, options.output)
    with open_entrants(options) as entrants:
        facts = {"option_file": str(args.opt)}
        evaluation = run_evaluation(options, sets, entrants, facts)
        if world_from_environment().is_main:
            _tell(options, evaluation)
    return EXIT_FAILED if evaluation.failures else 0


Entrants: TypeAlias = tuple[list[Network], Networks]
"""The networks to measure, and what makes restorers of them."""


@contextmanager
def open_entrants(options: AnyEvaluation) -> Iterator[Entrants]:
    """The networks that ``options`` name, all of them loaded once to see that they can be.

    Raises:
        CheckpointError: unusable weights. OptionsError: a device or precision that cannot be had.
    """
    networks = [identify(text) for text in options.checkpoint]
    require_different_methods([network.name for network in networks])
    with open_networks(options, [network.path for network in networks]) as restorers:
        yield networks, restorers


def run_evaluation(
    options: AnyEvaluation,
    sets: Sequence[TestSet],
    entrants: Entrants,
    facts: Mapping[str, object],
    strict: bool = True,
) -> Evaluation:
    """Measure ``sets`` as ``options`` say; write tables, pictures, ``run.yml``, a report.

    Every process of the session calls this; the main one writes. ``facts`` go into ``run.yml``.
    Not ``strict``: a method without a picture for these sets is left out.

    Raises:
        ImageError: the output folder cannot be written, or another run does. OptionsError: a method
            that cannot be used. MetricError: a metric of an extra that is not installed, or whose
            weights are not here.
    """
    with ExitStack() as held:
        return _run_evaluation(options, sets, entrants, facts, strict, held)


def _hold(folder: Path, world: World, held: ExitStack) -> None:
    """Keep other runs out of a folder, for all processes of this one, or fail in all of them."""
    problem: ImageError | None = None
    if world.is_main:
        try:
            held.enter_context(alone_in(folder))
        except ImageError as error:
            problem = error
    if problems := [each for each in world.gather(problem) if each is not None]:
        raise problems[0]


def _run_evaluation(
    options: AnyEvaluation,
    sets: Sequence[TestSet],
    entrants: Entrants,
    facts: Mapping[str, object],
    strict: bool,
    held: ExitStack,
) -> Evaluation:
    output = options.output
    degradations = options.degradations()
    settings = [each.label for each in degradations]
    others, not_scored = other_methods(options.method, sets, settings, output, strict)
    networks, restorers = entrants
    world = restorers.world
    require_different_methods([each.name for each in networks] + [each.name for each in others])
    metrics: dict[str, Metric] = {
        name: LearnedMetric(name) if name in CLASSES else METRICS[name]
        for name in dict.fromkeys(("psnr", *options.metrics))
    }
    require_writable(output)
    _hold(output, world, held)
    require_own_records(output, options.report)
    code = code_hash()
    first = restorers.restorer(networks[0].path)
    batch = BATCH if first.batches else 1
    machine = describe_machine(first, world)
    precisions = dict.fromkeys(restorers.arithmetic[each.path] for each in networks)
    machine["precision"] = " or ".join(precisions)
    protocol = protocol_line(options, machine["precision"])
    key = machine["device"], code
    methods = [_method(options, each, restorers, key, batch) for each in networks] + others
    journal = Journal(output, world)
    evaluation = evaluate_methods(
        sets,
        degradations,
        methods,
        output,
        "all" if options.report else options.save_images,
        world=world,
        journal=journal,
        jpeg_key=_key("JPEG", encoder_version(), options.padding.value, code),
        metrics=metrics,
    )
    evaluation.not_scored = not_scored
    if world.is_main:
        times = "twice" if isinstance(options, DoubleTestOptions) else "once"
        title = f"JPEG restoration: compressed {times}, "
        title += ", ".join(dict.fromkeys(network.path.name for network in networks))
        published = read_published(PUBLISHED, {options.padding.value})
        weights = {each.name: Weights(each.path.name, each.sha256) for each in networks}
        write_tables(output, evaluation, published, title, weights, protocol)
        run = describe_run(
            options.model_dump(mode="json"),
            {
                "protocol": protocol,
                "checkpoint_sha256": networks[0].sha256,
                "parameters": restorers.parameters[networks[0].path],
                **machine,
                **facts,
                **_cost(evaluation, networks, restorers),
            },
        )
        write_run_file(output / RUN_FILE, run)
        if options.report:
            pictures = picture_paths(output, methods)
            report_evaluation(
                output, title, sets, degradations, evaluation, published, run, pictures
            )
            remove_unwanted_pictures(
                output, evaluation, degradations, options.save_images, pictures
            )
        journal.remove()  # not before: all of this can fail, and measuring takes long
    return evaluation


def _method(
    options: AnyEvaluation,
    network: Network,
    restorers: Networks,
    where: tuple[str, ...],
    batch: int,
) -> Method:
    def start() -> Restore:
        restorer = restorers.restorer(network.path)
        return lambda tasks: restorer.restore_batch([task.stored for task in tasks])

    how = options.ensemble, options.leave_fine, options.strength, options.padding.value
    parts = network.sha256, *how, restorers.arithmetic[network.path], *where
    return Method(network.name, start, key=_key(*parts), batch=batch)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def code_hash() -> str:
    """SHA-256 over the source files that decide on figures."""
    digest = hashlib.sha256()
    for pattern in ("data/**/*.py", "models/**/*.py", "utils/**/*metrics.py"):
        for path in sorted(PROJECT.glob(pattern)):
            digest.update(file_hash(path).encode())
    return digest.hexdigest()


def protocol_line(options: AnyEvaluation, precision: str) -> str:
    """How everything in a table was measured, in one line."""
    samplings = " and ".join(dict.fromkeys(each.sampling.value for each in options.degradations()))
    padding = {
        Padding.AS_STORED: "padding as_stored (blocks mirrored)",
        Padding.PAD_FIRST: "padding pad_first (pixels padded before encoding, unlike published "
        "figures known to be of another padding, which are not shown)",
    }[options.padding]
    fine = "left as decoded from quality 95 on" if options.leave_fine else "restored like others"
    ensemble = f"over {options.ensemble} views" if options.ensemble > 1 else "none"
    strength = f"strength {options.strength:g}, " if options.strength != 1 else ""
    return (
        f"Protocol: {encoder_version()}, chroma {samplings}, {padding}, backbone in "
        f"{precision}, fine files {fine} (leave_fine "
        f"{str(options.leave_fine).lower()}), {strength}self-ensemble {ensemble}; 8-bit RGB or "
        "gray, whole images, no border cut."
    )


BATCH = 8
"""Pictures restored together on a GPU; a CPU takes them one by one."""

PUBLISHED = PROJECT / "testsets" / "published.csv"


def _tell(options: AnyEvaluation, evaluation: Evaluation) -> None:
    print()
    print((options.output / "summary.md").read_text(encoding="utf-8"))
    tell_left_out(evaluation)
    if not evaluation.results:
        print("error: no image could be measured", file=sys.stderr)
    print(f"tables, restored pictures and run.yml: {options.output}")
    comparison = options.output / "comparison.png"
    if options.save_images != "none" and comparison.exists():
        print(f"side by side: {comparison}")
    page = options.output / REPORT
    if options.report:
        print(f"everything on one page: {page}")
    elif page.exists():
        print(f"note: {page} is of an earlier run; --report makes it anew")


def _open_sets(options: EvaluationOptions) -> list[TestSet]:
    root = from_project(options.testsets_folder)
    wanted: Sequence[str] = options.testsets
    if options.testsets == "auto":
        wanted = [DEFAULT_SET if has_testset(DEFAULT_SET, root) else SAMPLE]
        if wanted == [SAMPLE] and world_from_environment().is_main:
            print(
                f"{DEFAULT_SET} not found: measuring the built-in {SAMPLE} instead "
                f"({as_started('python testsets/download.py')} {DEFAULT_SET} fetches it)"
            )
    require_different_names(wanted)
    return [open_testset(each, root) for each in wanted]


def require_different_names(wanted: Sequence[str]) -> None:
    """Sets of one name would share their rows and their folder of pictures.

    Raises:
        DatasetError: two sets have one name.
    """
    for name, count in Counter(map(set_name, wanted)).items():
        if count > 1:
            given = dict.fromkeys(each for each in wanted if set_name(each) == name)
            raise DatasetError(
                f"--testsets: {name} stands there twice ({' and '.join(given)}); give it once, or "
                "rename one of the folders"
            )


def require_apart(sets: Sequence[TestSet], output: Path) -> None:
    """Nothing is written among the images that are measured, nor are results measured as images.

    Raises:
        DatasetError: the output folder lies in a set, or a set among the output's pictures.
    """
    inside = output.resolve()
    for each in sets:
        if each.folder is None:
            continue
        folder = each.folder.resolve()
        if inside.is_relative_to(folder):
            raise DatasetError(
                f"--output {output} lies in the test set {each.folder}, where results would be "
                "measured the next time; choose another --output"
            )
        if any(folder.is_relative_to(place) for place in picture_folders(inside)):
            raise DatasetError(
                f"test set {each.folder} lies among the pictures that --output {output} replaces; "
                "choose another --output"
            )


def tell_left_out(evaluation: Evaluation) -> None:
    """A line on stderr for each image or picture that is not in the tables."""
    for line in dict.fromkeys(failure.line for failure in evaluation.failures):
        print(f"left out: {line}", file=sys.stderr)
    for line in evaluation.not_scored:
        print(f"not scored: {line}", file=sys.stderr)


def _cost(
    evaluation: Evaluation, networks: Sequence[Network], restorers: Networks
) -> dict[str, object]:
    methods = []
    for network in networks:
        cost = evaluation.costs.get(network.name, Cost())
        methods.append(
            {
                "name": network.name,
                "checkpoint": str(network.path),
                "sha256": network.sha256,
                "parameters": restorers.parameters[network.path],
                "precision": restorers.arithmetic[network.path],
                "restore_seconds_per_image": round(cost.seconds / max(1, cost.images), 3),
                "restore_seconds_per_megapixel": round(cost.seconds / max(1, cost.pixels) * 1e6, 3),
            }
        )
    pixels = max(1, sum(cost.pixels for cost in evaluation.costs.values()))
    return {
        "methods": methods,
        **{name: methods[0][name] for name in methods[0] if name.startswith("restore_seconds")},
        "metric_seconds_per_megapixel": round(evaluation.metric_seconds / pixels * 1e6, 3),
        "images_left_out": {name: sorted(left) for name, left in evaluation.left_out.items()},
    }
