"""A local page in the browser: drop JPEGs, compare before and after, download the results."""

import os
import sys
from typing import NoReturn

import utils.startup  # noqa: F401  must come first, see there
from jobs.page import server


def main() -> NoReturn:
    code = server.main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: Python cannot end in order while a thread still restores


if __name__ == "__main__":
    main()
