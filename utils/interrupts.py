"""Ctrl-C while a script still loads its libraries: an end without a traceback.

Importing PyTorch takes seconds. Scripts import this module first; from then until
:func:`heed_interrupts`, an interrupt ends the process as the system does it (exit code 130 in a
shell). Nothing is lost: no work has begun.

Job runners, containers and ``nohup ... &`` start processes that ignore interrupts. These scripts
heed them there too: whoever sends one wants an end that leaves nothing half-done.
"""

from __future__ import annotations

import signal
import sys

_INHERITED = (signal.default_int_handler, signal.SIG_IGN)

if "torch" not in sys.modules and signal.getsignal(signal.SIGINT) in _INHERITED:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def heed_interrupts() -> None:
    """From here on an interrupt raises KeyboardInterrupt again, for the script to end in order."""
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGINT, signal.default_int_handler)
