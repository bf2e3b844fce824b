"""Measure IJCN on colour images compressed once: a table of PSNR / SSIM / PSNR-B at several QFs."""

import sys

import utils.startup  # noqa: F401  must come first, see there
from jobs.evaluate import evaluation_main
from options.schema import ColorTestOptions

EXAMPLES = """  python test_color_IJCN.py
  python test_color_IJCN.py --testsets LIVE1_color BSDS500_color --set "qualities=[10,20,30,40]"
  python test_color_IJCN.py --testsets Sample --output results/sample --report
  python test_color_IJCN.py --checkpoint model_zoo/Color_IJCN.pth --set padding=pad_first
  python test_color_IJCN.py --testsets my/pictures --checkpoint a.safetensors --method FBCNN=fbcnn
"""


def main() -> int:
    return evaluation_main(
        __doc__, EXAMPLES, "options/test_color.yml", ColorTestOptions, "test_results/color"
    )


if __name__ == "__main__":
    sys.exit(main())
