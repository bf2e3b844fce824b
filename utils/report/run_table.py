"""Training runs side by side: how long they were, what they gained, which options differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.training.record import TRAIN_CURVE, VALIDATION_CURVE, options_of_run, read_curve

_GAIN = "gain_"
_CHOOSES = "gain_QF"
"""Of the gains, those whose mean chooses the best weights; others are only watched."""
_SAME_ANYWHERE = ("name", "output", "validation.folder")
"""Options that say nothing about how a run went."""


def compared(folders: Sequence[Path]) -> str:
    """A Markdown table of runs, a column each; what a run has not recorded is a dash.

    Steps, minutes (of the steps that were reported), pixels seen, gains on validation images at the
    end and at their best mean, and each option that is not the same in all runs.
    """
    options = [options_of_run(folder) for folder in folders]
    runs = [_facts(folder, own) for folder, own in zip(folders, options, strict=True)]
    rows = {name: [run.get(name, "-") for run in runs] for name in _union(runs)}
    for key in _union(options):
        values = [_shown(each.get(key)) for each in options]
        if len(set(values)) > 1 and key not in _SAME_ANYWHERE:
            rows[f"`{key}`"] = values
    names = [folder.resolve().name for folder in folders]
    lines = [_line(["", *names]), _line(["---"] * (1 + len(names)))]
    return "\n".join(lines + [_line([name, *values]) for name, values in rows.items()]) + "\n"


def _facts(folder: Path, options: Mapping[str, Any]) -> dict[str, str]:
    facts: dict[str, str] = {}
    batch, patch = options.get("data.batch"), options.get("data.patch")
    if rows := read_curve(folder / TRAIN_CURVE)[1]:
        steps = [int(row["step"]) for row in rows]
        facts["steps"] = str(steps[-1])
        if batch and patch:
            seconds = sum(
                (step - before) * batch / float(row["crops_per_second"])
                for step, before, row in zip(steps, [0, *steps], rows, strict=False)
                if float(row.get("crops_per_second") or 0) > 0
            )
            facts["minutes"] = f"{seconds / 60:.0f}"
            facts["gigapixels seen"] = f"{steps[-1] * batch * patch**2 / 1e9:.2f}"
    if rows := read_curve(folder / VALIDATION_CURVE)[1]:
        settings = [name for name in rows[0] if name.startswith(_GAIN)]
        chosen = [name for name in settings if name.startswith(_CHOOSES)]
        best = max(rows, key=lambda row: sum(float(row[name] or 0) for name in chosen))
        for when, row in (("final", rows[-1]), ("best", best)):
            for name in settings:
                text = f"{float(row[name]):.3f} dB" if row[name] else "-"
                facts[f"{when} gain, {name.removeprefix(_GAIN)}"] = text
        facts["best at step"] = best["step"]
    return facts


def _union(many: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for each in many for key in each))


def _shown(value: Any) -> str:
    return "-" if value is None else json.dumps(value) if isinstance(value, list) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
