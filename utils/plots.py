"""``python -m utils.plots``: the command of :mod:`utils.report.plots`."""

from __future__ import annotations

import sys

from utils.report.plots import main

if __name__ == "__main__":
    sys.exit(main())
