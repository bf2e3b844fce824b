"""What a training run tells people: progress bar, log file, CSV curves, TensorBoard, pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from utils.image_io import write_atomically, write_png

LOG_FILE = "log.txt"
TRAIN_CURVE = "train.csv"
VALIDATION_CURVE = "validation.csv"
PANEL_FOLDER = "panels"
TENSORBOARD_FOLDER = "tensorboard"


class RunRecord:
    """Writes everything into one folder; silent where ``speaks`` is false (other processes).

    log.txt: dated lines, the same that are printed. train.csv, validation.csv: a row per report.
    panels/: newest validation pictures. tensorboard/: scalars and pictures, where TensorBoard is
    installed.
    """

    def __init__(self, folder: Path, *, speaks: bool = True, tensorboard: bool = True) -> None:
        self.folder = folder
        self.speaks = speaks
        self._bar: tqdm[Any] | None = None
        self._board: Any = None
        if speaks and tensorboard:
            self._board = self._open_board()

    def __enter__(self) -> RunRecord:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def say(self, line: str) -> None:
        """Print a line above the progress bar and append it, dated, to log.txt."""
        if not self.speaks:
            return
        tqdm.write(line)
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def start_from(self, step: int) -> None:
        """Drop what was recorded after ``step``: a resumed run will record it again."""
        if not self.speaks:
            return
        for name in (TRAIN_CURVE, VALIDATION_CURVE):
            path = self.folder / name
            header, rows = _read_csv(path)
            if any(int(row["step"]) > step for row in rows):
                _write_csv(path, header, [row for row in rows if int(row["step"]) <= step])

    def progress(self, step: int, total: int, figures: Mapping[str, str]) -> None:
        """Move the bar to ``step`` of ``total``; ``figures`` stand behind it."""
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
        path = self.folder / name
        header, rows = _read_csv(path)
        row = {"step": str(step), **{key: f"{value:.6g}" for key, value in figures.items()}}
        if path.exists() and set(row) <= set(header):
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, header).writerow(row)
        else:  # a resumed run may report more than it did before
            _write_csv(path, list(dict.fromkeys([*header, *row])), [*rows, row])
        if self._board is not None:
            for key, value in figures.items():
                self._board.add_scalar(f"{Path(name).stem}/{key}", value, step)

    def picture(self, name: str, step: int, image: NDArray[np.uint8]) -> None:
        """Keep the newest (H, W, 3) RGB picture of this name; all of them in TensorBoard."""
        if not self.speaks:
            return
        write_png(self.folder / PANEL_FOLDER / f"{name}.png", image)
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def _open_board(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter  # optional dependency, slow to import
        except ImportError:
            self.say("TensorBoard is not installed (pip install tensorboard): curves go to CSV")
            return None
        return SummaryWriter(str(self.folder / TENSORBOARD_FOLDER))


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows; both empty where there is no file."""
    if not path.exists():
        return [], []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row.get("step") or "").isdigit()]
        return list(reader.fieldnames or []), rows


def _write_csv(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    lines = [header, *([row.get(key) or "" for key in header] for row in rows)]
    write_atomically(path, "".join(",".join(line) + "\n" for line in lines))
