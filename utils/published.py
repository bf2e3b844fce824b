"""Published figures of other methods, and the rows of a table they make."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedRow:
    """One published average: dB, no unit, dB; None where the source gives no figure."""

    dataset: str
    setting: str
    method: str
    psnr: float | None
    ssim: float | None
    psnrb: float | None
    source: str


def read_published(path: Path) -> list[PublishedRow]:
    """Rows of ``testsets/published.csv``, in file order."""

    def figure(text: str) -> float | None:
        return float(text) if text else None

    with path.open(newline="", encoding="utf-8") as file:
        return [
            PublishedRow(
                row["dataset"],
                f"QF{row['qf']}",
                row["method"],
                figure(row["psnr"]),
                figure(row["ssim"]),
                figure(row["psnrb"]),
                row["source"],
            )
            for row in csv.DictReader(file)
        ]


def rows_for(
    rows: Iterable[PublishedRow], dataset: str, settings: Iterable[str]
) -> list[PublishedRow]:
    """The rows of one data set at some settings."""
    wanted = set(settings)
    return [row for row in rows if row.dataset == dataset and row.setting in wanted]
