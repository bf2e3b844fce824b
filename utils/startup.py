"""What a script settles before its libraries are loaded; so it imports this module first.

**Ctrl-C while they load.** Importing PyTorch takes seconds. From here until
:func:`heed_interrupts`, an interrupt ends the process as the system does it (exit code 130 in a
shell), without a traceback. Nothing is lost: no work has begun.

Job runners, containers and ``nohup ... &`` start processes that ignore interrupts. These scripts
heed them there too: whoever sends one wants an end that leaves nothing half-done.

**Threads that wait.** PyTorch's threads wait for one another some hundred times a tile. GNU's
OpenMP lets them spin meanwhile, for milliseconds: where other programs are busy, they take the
processor from the thread that they wait for. Here they sleep after a thirtieth of that
(docs/speed.md has the figures).
"""

from __future__ import annotations

import os
import signal
import sys

_INHERITED = (signal.default_int_handler, signal.SIG_IGN)

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when PyTorch is loaded
if "torch" not in sys.modules and signal.getsignal(signal.SIGINT) in _INHERITED:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def heed_interrupts() -> None:
    """From here on an interrupt raises KeyboardInterrupt again, for the script to end in order."""
    if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(signal.SIGINT, signal.default_int_handler)
