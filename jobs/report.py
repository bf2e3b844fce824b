"""The report of a test script's run: its pictures, figures and circumstances as one HTML file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.datasets import TestSet
from data.jpeg import JpegError
from jobs.restore_files import FileResult, as_looked_at
from utils.evaluation.evaluate import Degrade, Evaluation, SaveImages
from utils.evaluation.metrics import Scores
from utils.evaluation.published import PublishedRow
from utils.evaluation.tables import JPEG
from utils.image_io import ImageError, read_image
from utils.pictures import Image
from utils.report.report import ReportBuilder
from utils.run_log import RUN_FILE, read_run_file
from utils.scratch import stderr_lines

PicturePath = Callable[[str, str, str], Path]
"""Set, setting, image -> where the restored picture lies."""

REPORT = "report.html"
"""Its name in an output folder."""

_REPORT_MARK = b"Content-Security-Policy"
"""In the first lines of every report; few pages of others have it."""


def require_own_records(output: Path, report: bool) -> None:
    """Refuse a folder whose ``run.yml``, or report if one is wanted, somebody else has written.

    Raises:
        ImageError: it would be replaced.
    """
    run, page = output / RUN_FILE, output / REPORT
    own = {run: not run.is_file() or {"command", "versions"} <= read_run_file(run).keys()}
    if report and page.is_file():
        with page.open("rb") as file:
            own[page] = _REPORT_MARK in file.read(1000)
    for path, ours in own.items():
        if not ours:
            raise ImageError(
                f"{path} is there already and was not written by this program; choose another "
                "--output"
            )


def report_evaluation(
    output: Path,
    title: str,
    sets: Sequence[TestSet],
    degradations: Sequence[Degrade],
    evaluation: Evaluation,
    published: Sequence[PublishedRow],
    facts: Mapping[str, object],
    pictures: Mapping[str, PicturePath],
) -> Path:
    """Write the report of an evaluation whose pictures of all settings lie in ``output``.

    JPEGs are made once more, which is quick and always gives the same; images that could not be
    measured are listed with the reason.

    Args:
        output: the evaluation's folder, and the report's.
        title: the page's heading.
        sets, degradations, evaluation: what was measured, how, and what was found.
        published: other methods' figures.
        facts: see `ReportBuilder.finish`.
        pictures: of each method whose pictures are shown, where they lie.

    Raises:
        ImageError: the report cannot be written.
    """
    scores: dict[tuple[str, str, str], dict[str, Scores]] = {}
    for result in evaluation.results:
        key = result.dataset, result.image, result.setting
        scores.setdefault(key, {})[result.method] = result.scores
    measured = {(dataset, image) for dataset, image, _ in scores}
    images = [(each.name, image) for each in sets for image in each]
    with ReportBuilder(title) as report:
        for dataset, image in tqdm(images, "report", unit="image", dynamic_ncols=True):
            add = partial(report.add, dataset=dataset, name=image.name)
            if (dataset, image.name) not in measured:
                add(setting="", note=_reason(evaluation, dataset, image.name))
                continue
            original = image.read()
            for degrade in degradations:
                setting = degrade.label
                found = scores.get((dataset, image.name, setting))
                if found is None:
                    note = _reason(evaluation, dataset, image.name, setting)
                    add(setting=setting, note=note)
                    continue
                pair = degrade(original)
                for method, path in pictures.items():
                    add(
                        setting=f"{setting} {method}" if len(pictures) > 1 else setting,
                        jpeg=pair.jpeg,
                        restored=read_image(path(dataset, setting, image.name)),
                        original=pair.original,
                        scores_before=found[JPEG],
                        scores_after=found[method],
                    )
        report.finish(output / REPORT, facts, evaluation.summary(), published)
    return output / REPORT


def remove_unwanted_pictures(
    output: Path,
    evaluation: Evaluation,
    degradations: Sequence[Degrade],
    wanted: SaveImages,
    pictures: Mapping[str, PicturePath],
) -> None:
    """Leave the pictures of the settings that ``save_images`` asks for; the report has them all."""
    if wanted == "all":
        return
    for dataset in {result.dataset for result in evaluation.results}:
        for degrade in degradations[1 if wanted == "first" else 0 :]:
            for path in pictures.values():
                shutil.rmtree(path(dataset, degrade.label, "").parent, ignore_errors=True)
    if wanted == "none":
        (output / "comparison.png").unlink(missing_ok=True)


def report_files(
    output: Path, title: str, results: Sequence[FileResult], facts: Mapping[str, object]
) -> Path:
    """Write the report of restored files, from the files themselves and their results.

    Raises:
        ImageError: the report cannot be written.
    """
    folders = _folders([result.source for result in results])
    with ReportBuilder(
        title, dataset_label="Folder", setting_label="Status", before_label="Before"
    ) as report:
        for result in tqdm(results, "report", unit="file", dynamic_ncols=True):
            notes = [result.message]
            before = after = None
            if result.status != "failed" and result.target is not None:
                try:
                    after = _as_looked_at(result.target)
                    before = _as_looked_at(result.source)
                except (ImageError, JpegError) as error:
                    notes.append(f"not shown as it was: {error}")
            if before is not None and after is not None and before.shape[:2] != after.shape[:2]:
                # An older result of another picture, left in its place.
                notes.append("the result there is of another size")
                before = None
            report.add(
                dataset=folders[result.source],
                setting=result.status,
                name=result.source.name,
                jpeg=before,
                restored=after,
                note="; ".join(filter(None, notes)),
            )
        report.finish(output / REPORT, facts)
    return output / REPORT


def _as_looked_at(path: Path) -> Image:
    """See :func:`jobs.restore_files.as_looked_at`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    with stderr_lines():  # complaints stand in the file's result
        return as_looked_at(data, str(path))


def _folders(paths: Sequence[Path]) -> dict[Path, str]:
    """The folder of each file, from the one on that they have in common."""
    folders = {path: path.absolute().parent for path in paths}
    try:
        above = Path(os.path.commonpath(folders.values())).parent if folders else Path()
    except ValueError:  # on several drives
        return {path: str(folder) for path, folder in folders.items()}
    return {path: folder.relative_to(above).as_posix() for path, folder in folders.items()}


def _reason(evaluation: Evaluation, dataset: str, image: str, setting: str = "") -> str:
    """Why an image was not measured, at one setting or at all."""
    lines = (
        failure.line
        for failure in evaluation.failures
        if failure[:2] == (dataset, image) and (not setting or failure.setting in ("", setting))
    )
    return next(lines, "not measured")
