"""A local page in the browser: drop JPEGs, compare before and after, download the results."""

import sys

import utils.interrupts  # noqa: F401  first: heeds Ctrl-C while the others load
from jobs.page import main

if __name__ == "__main__":
    sys.exit(main())
