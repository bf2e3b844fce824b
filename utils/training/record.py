"""What a training run tells people: progress bar, log file, CSV curves, TensorBoard, pictures."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.image_io import ImageError, write_atomically, write_png

TRAIN_CURVE = "train.csv"
VALIDATION_CURVE = "validation.csv"
OPTIONS_FILE = "options.json"


class RunRecord:
    """Writes everything into one folder; silent where ``speaks`` is false (other processes).

    log.txt: dated lines, the same that are printed. train.csv, validation.csv: a row per report.
    panels/: newest validation pictures. tensorboard/: scalars and pictures, where TensorBoard is
    installed. What cannot be written is said once; the training goes on.
    """

    def __init__(self, folder: Path, *, speaks: bool = True, tensorboard: bool = True) -> None:
        self.folder = folder
        self.speaks = speaks
        self.tensorboard = tensorboard
        self._bar: tqdm[Any] | None = None
        self._first_step = 0
        self._complained = False

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if (board := vars(self).get("_board")) is not None:  # opened at all
            with self._complaining():
                board.close()

    def say(self, line: str) -> None:
        """Print a line above the progress bar and append it, dated, to log.txt."""
        if not self.speaks:
            return
        tqdm.write(line)
        with self._complaining(), (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def start_from(self, step: int, validated: bool = True) -> None:
        """Drop what was recorded after ``step``, of validations also then unless ``validated``: a
        resumed run will record it again."""
        if not self.speaks:
            return
        self._first_step = step
        for name in (TRAIN_CURVE, VALIDATION_CURVE):
            path = self.folder / name
            if path.exists():
                with self._complaining():
                    header, rows = read_curve(path)
                    if "step" not in header:
                        path.replace(path.with_name(f"{name}.old"))
                        self.say(f"warning: {path} is no curve any more; kept as {name}.old")
                        continue
                    last = step - (name == VALIDATION_CURVE and not validated)
                    _write_csv(path, header, [row for row in rows if int(row["step"]) <= last])

    def progress(self, step: int, total: int | None, figures: Mapping[str, str]) -> None:
        """Move the bar to ``step`` of ``total``, if that is known; ``figures`` stand behind it."""
        if not self.speaks:
            return
        if self._bar is None:
            self._bar = tqdm(total=total, initial=step, unit="step", dynamic_ncols=True)
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(step - self._bar.n)

    def curve(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        """Append a row to the CSV ``name`` and the same numbers to TensorBoard."""
        if not self.speaks:
            return
        row = {"step": str(step), **{key: f"{value:.6g}" for key, value in figures.items()}}
        with self._complaining():
            header, rows = read_curve(self.folder / name)
            # A resumed run may report more than it did before.
            header = list(dict.fromkeys([*header, *row]))
            _write_csv(self.folder / name, header, [*rows, row])
        with self._complaining():
            if self._board is not None:
                for key, value in figures.items():
                    self._board.add_scalar(f"{Path(name).stem}/{key}", value, step)

    def text(self, name: str, text: str) -> None:
        """Write a text file, in the place of an earlier one."""
        if not self.speaks:
            return
        with self._complaining():
            write_atomically(self.folder / name, text)

    def picture(self, name: str, step: int, image: NDArray[np.uint8]) -> None:
        """Keep the newest (H, W, 3) RGB picture of this name; all of them in TensorBoard."""
        if not self.speaks:
            return
        with self._complaining():
            write_png(self.folder / "panels" / f"{name}.png", image)
        with self._complaining():
            if self._board is not None:
                self._board.add_image(name, image, step, dataformats="HWC")

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """A record that cannot be written is worth a line, not a training."""
        try:
            yield
        except (OSError, ImageError) as error:
            if not self._complained:
                self._complained = True
                message = f"warning: curves or pictures of this run are incomplete ({error})"
                tqdm.write(message, file=sys.stderr)

    @cached_property
    def _board(self) -> Any:
        """TensorBoard's writer, opened when it is first needed; None without TensorBoard."""
        if not self.tensorboard:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter  # optional dependency, slow to import
        except ImportError:
            self.say('TensorBoard is not installed (pip install -e ".[train]"): curves go to CSV')
            return None
        # What was written after the step a run is resumed from is taken back.
        return SummaryWriter(str(self.folder / "tensorboard"), purge_step=self._first_step + 1)


def options_of_run(folder: Path) -> dict[str, Any]:
    """The options in a run's folder, by their dotted keys; empty where there are none."""
    try:
        content = json.loads((folder / OPTIONS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return _flat(content, "") if isinstance(content, dict) else {}


def _flat(content: Mapping[str, Any], before: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What is not the same in both, in one line: ``batch 2 there, 4 here``."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)


def read_curve(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a curve; both empty where there is no file. Spreadsheets may have saved it
    in their encodings."""
    if not path.exists():
        return [], []
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = data.decode(encoding, "replace").replace("\0", "").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # half a line, as older versions of this project may leave it
    reader = csv.DictReader(lines)
    rows = [row for row in reader if (row.get("step") or "").isdigit()]
    return list(reader.fieldnames or []), rows


def _write_csv(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    lines = [header, *([row.get(key) or "" for key in header] for row in rows)]
    write_atomically(path, "".join(",".join(line) + "\n" for line in lines))
