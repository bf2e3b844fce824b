"""Measure IJCN on colour images compressed twice, with aligned and shifted block grids."""

import sys

import utils.startup  # noqa: F401  must come first, see there
from jobs.evaluate import evaluation_main
from options.schema import DoubleTestOptions

EXAMPLES = """  python test_colordouble_IJCN.py
  python test_colordouble_IJCN.py --testsets LIVE1_color --set "shifts=[[0,0],[4,4],[1,7]]"
  python test_colordouble_IJCN.py --set "qualities=[90]" "second_qualities=[10,95]"
  python test_colordouble_IJCN.py --set "pairs=[[10,90],[90,10],[75,95],[95,75]]" output=far_apart
"""


def main() -> int:
    return evaluation_main(
        *(__doc__, EXAMPLES, "options/test_colordouble.yml", DoubleTestOptions),
        "test_results/color_double",
    )


if __name__ == "__main__":
    sys.exit(main())
