"""utils/report/run_table.py: training runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utils.report.run_table import compared


def _run(folder: Path, options: dict[str, Any], train: str = "", validation: str = "") -> Path:
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps(options))
    for name, text in (("train.csv", train), ("validation.csv", validation)):
        if text:
            (folder / name).write_text(text)
    return folder


def _cells(table: str) -> dict[str, list[str]]:
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {name.strip(): values for name, *values in rows}


def test_what_differs_is_shown_and_what_is_alike_is_not(tmp_path: Path) -> None:
    data = {"batch": 8, "patch": 128, "folders": ["x"]}
    one = _run(
        tmp_path / "one",
        {"name": "one", "seed": 1, "data": {**data, "drawn_share": 0.1}},
        "step,loss,gain,crops_per_second\n50,1,0.5,10\n100,1,0.6,20\n",
        "step,gain_QF10,gain_QF40,gain_drawn\n50,1.0,2.5,1.0\n100,1.2,2.0,5.0\n",
    )
    two = _run(tmp_path / "two", {"name": "two", "seed": 1, "data": data})
    cells = _cells(compared([one, two]))
    assert cells["steps"] == ["100", "-"]
    assert cells["minutes"] == ["1", "-"]  # 50 steps of 8 crops, 10 a second, then 20: 60 s
    assert cells["gigapixels seen"] == ["0.01", "-"]
    assert cells["final gain, QF10"] == ["1.200 dB", "-"]
    assert cells["best gain, QF40"] == ["2.500 dB", "-"]
    assert cells["best at step"] == ["50", "-"]  # drawn pictures choose no weights
    assert cells["best gain, drawn"] == ["1.000 dB", "-"]
    assert cells["`data.drawn_share`"] == ["0.1", "-"]
    assert not {"`seed`", "`name`", "`data.folders`"} & set(cells)


def test_folders_without_a_run_make_a_table_of_dashes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert compared([tmp_path / "empty"]).splitlines()[0] == "|  | empty |"
