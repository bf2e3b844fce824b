"""Ctrl-C while a script still loads its libraries: an end without a traceback.

Importing PyTorch takes seconds. Scripts import this module first; from then until
:func:`heed_interrupts`, an interrupt ends the process as the system does it (exit code 130 in a
shell). Nothing is lost: no work has begun.
"""

from __future__ import annotations

import signal
import sys

if "torch" not in sys.modules and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def heed_interrupts() -> None:
    """From here on an interrupt raises KeyboardInterrupt again, for the script to end in order."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
