"""A local page in the browser: drop JPEGs, compare before and after, download the results."""

import os
import sys

import utils.interrupts  # noqa: F401  first: heeds Ctrl-C while the others load
from jobs.page.server import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: Python cannot end in order while a thread still restores
