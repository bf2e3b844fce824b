"""The local page (``python app.py``): its command line, its server, its end.

All that is dropped or made lies in one temporary folder; what belongs to a visitor goes when they
leave, the rest when the page ends, and what a page left that was killed, when the next one starts.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from jobs.page.desk import Desk, Limits
from jobs.page.form import build_page, page_style
from jobs.page.visits import PREFIX, Visits, remove_stale_folders
from models import CheckpointError
from models.checkpoint import checkpoint_path
from models.restore.restorer import pick_device
from options.schema import OptionsError
from utils.arguments import between
from utils.commands import command_parser
from utils.image_io import ImageError
from utils.project import PROJECT
from utils.scripts import run_script

EXAMPLES = """  python app.py
  python app.py --port 8000 --checkpoint runs/mine/best.safetensors
  python app.py --host 0.0.0.0        # everybody in your network may use it
"""

WEIGHTS = (".safetensors", ".pth")


def known_checkpoints(more: Sequence[str]) -> list[str]:
    """Weights to choose from: those named, then all in ``model_zoo/``.

    Raises:
        OptionsError: there are none.
    """
    more = [str(checkpoint_path(path)) for path in more]
    zoo = sorted(p for p in (PROJECT / "model_zoo").glob("*") if p.suffix in WEIGHTS)
    found = list(dict.fromkeys([*more, *map(str, zoo)]))
    if not found:
        raise OptionsError("no checkpoint in model_zoo/; name one with --checkpoint")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``app.py``; returns its exit code."""
    parser = command_parser("A local page in the browser: drop JPEGs, compare, download.", EXAMPLES)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=between(int, 1, 65535), default=7860, help="port (7860)")
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="PATH", help="weights besides model_zoo/"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument(
        "--max_files", type=between(int, 1, 1_000_000), default=Limits.files, help="at once (20)"
    )
    parser.add_argument(
        "--max_megabytes",
        type=between(int, 1, 1_000_000),
        default=Limits.megabytes,
        help="each (50)",
    )
    parser.add_argument(
        "--max_pixels",
        type=between(float, 1, 1_000_000),
        default=Limits.megapixels,
        help="megapixels (60)",
    )
    parser.add_argument("--browser", action="store_true", help="open the page in a browser")
    args = parser.parse_args(arguments)
    try:
        return run_script(lambda: _serve(args), (OptionsError, CheckpointError, ImageError))
    except SystemExit as ended:  # see _end_on_signals
        return int(ended.code or 0)


def _serve(args: argparse.Namespace) -> int:
    checkpoints = known_checkpoints(args.checkpoint)
    try:
        pick_device(args.device)
    except ValueError as error:
        raise OptionsError(str(error)) from error
    host = args.host.strip("[]")
    _require_free(host, args.port)
    limits = Limits(args.max_files, args.max_megabytes, args.max_pixels)
    desk = Desk(limits, args.device)
    named = checkpoints[: len(args.checkpoint) or 1]
    for checkpoint in reversed(named):  # the first one stays at hand
        desk.load(checkpoint)
    remove_stale_folders(Path(tempfile.gettempdir()))
    _end_on_signals()
    prefix = f"{PREFIX}{os.getpid()}_"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch).resolve()
        # Read by Gradio when it is imported: uploads lie there, and nobody is told of visits.
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        page = build_page(desk, Visits(folder), checkpoints)
        name, elsewhere = f"[{host}]" if ":" in host else host, ""  # of IPv6, as in an address
        try:
            page.launch(
                server_name=name,
                server_port=args.port,
                inbrowser=args.browser,
                # Of each file. Ours is the clearer message, and lets the others through; this only
                # keeps the disk from being filled.
                max_file_size=max(1000, limits.files * limits.megabytes) * 1_000_000,
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
                **page_style(),
            )
        except OSError as error:  # taken since it was tried
            raise OptionsError(f"port {args.port}: {error}; choose another --port") from error
        if host in ("0.0.0.0", "::"):  # every address of this machine is not an address itself
            name, elsewhere = "127.0.0.1", ", from elsewhere under this machine's name"
        print(f"the page is at http://{name}:{args.port}{elsewhere} (Ctrl-C ends it)", flush=True)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


def _require_free(host: str, port: int) -> None:
    """See whether the page can listen there, before anything is loaded for it.

    Raises:
        OptionsError: not an address of this machine, or a port that is taken or forbidden.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionsError(
            f"port {port} on {host} cannot be used ({why}); choose another --port, or a --host "
            "that is an address of this machine (0.0.0.0: all of them)"
        ) from error


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the page in order, as Ctrl-C does, with a shell's exit code."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):  # Windows has one of them
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
