"""Published figures of other methods, and the rows of a table they make."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

SET_SIZES = {
    "LIVE1_color": 29,
    "LIVE1_gray": 29,
    "BSDS500_color": 200,
    "BSDS500_gray": 200,
    "Classic5": 5,
    "ICB_color": 15,
    "Urban100": 100,
    "Kodak24": 24,
}
"""Images of the whole sets, over which published figures are means."""


@dataclass(frozen=True)
class PublishedRow:
    """One published average: dB, no unit, dB; None where the source gives no figure.

    source: where the figure stands. blind: one model for all qualities; else a model for each,
    which knows the quality. padding: as our option of that name, empty where nobody says.
    reference: who published the method.
    """

    dataset: str
    setting: str
    method: str
    psnr: float | None
    ssim: float | None
    psnrb: float | None
    source: str
    blind: bool = True
    padding: str = ""
    reference: str = ""


SSIM_WINDOW = "gaussian"
"""The window of utils.evaluation.metrics.ssim; SSIM under another one is another figure."""

_NOT_BLIND = "one model per QF"


def read_published(path: Path, paddings: Collection[str]) -> list[PublishedRow]:
    """Rows of ``testsets/published.csv``, in file order; older files lack the last columns.

    SSIM under another window than ours is left out.

    Args:
        path: the file.
        paddings: only rows that are of all these paddings, or do not say; of none: every row.
    """

    def figure(text: str) -> float | None:
        return float(text) if text else None

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        PublishedRow(
            row["dataset"],
            f"QF{row['qf']}",
            row["method"],
            figure(row["psnr"]),
            figure(row["ssim"]) if row.get("ssim_window", "") in ("", SSIM_WINDOW) else None,
            figure(row["psnrb"]),
            row["source"],
            row["blind"] != "no" if "blind" in row else row.get("note") != _NOT_BLIND,
            row.get("padding") or "",
            row.get("reference") or "",
        )
        for row in rows
        if not row.get("padding") or {row["padding"]}.issuperset(paddings)
    ]


def rows_for(
    rows: Iterable[PublishedRow], dataset: str, settings: Iterable[str]
) -> list[PublishedRow]:
    """The rows of one data set at some settings."""
    wanted = set(settings)
    return [row for row in rows if row.dataset == dataset and row.setting in wanted]


def without_chroma(setting: str) -> tuple[str, str]:
    """A degradation's label for 4:2:0, and its chroma: "QF10_444" -> "QF10", "4:4:4".

    The second is empty for 4:2:0.
    """
    bare, _, digits = setting.partition("_")
    return bare, ":".join(digits)


def not_comparable(dataset: str, images: Iterable[int], settings: Iterable[str]) -> str:
    """Why published figures say nothing about measured ones; empty if they do.

    images: over how many images each of the measured means is. settings: labels of the
    degradations, see data.degradation.
    """
    samplings = sorted({without_chroma(setting)[1] for setting in settings} - {""})
    if samplings and dataset in SET_SIZES:
        return (
            f"chroma {', '.join(samplings)}: "
            "not comparable with published figures, which are for 4:2:0"
        )
    whole = SET_SIZES.get(dataset)
    counts = sorted({count for count in images if count != whole})
    if whole is None or not counts:
        return ""
    found = f"{counts[0]} of {whole}" if counts[0] < whole else f"{counts[0]} instead of {whole}"
    return f"{found} images: not comparable with published figures"
