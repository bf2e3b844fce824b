"""A local page in the browser: drop JPEGs, compare before and after, download the results."""

import sys

from jobs.page import main

if __name__ == "__main__":
    sys.exit(main())
