"""The local page (``python app.py``): what it does with dropped files, and how it looks.

Files are restored as ``test_real_IJCN.py`` restores them. All that is dropped or made lies in one
temporary folder; what belongs to a visitor goes when they leave, the rest when the page ends, and
what a page left that was killed, when the next one starts.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from data.jpeg import JpegError, JpegImage, read_jpeg
from data.jpeg_markers import is_jpeg
from data.quality import estimate_quality
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, as_looked_at, restore_file
from models import CheckpointError, Restorer, load_checkpoint
from models.restore.layouts import MULTIPLE, StoredJpeg
from models.restore.restorer import Precision, pick_device
from models.restore.tiling import tiles
from options.command_line import PROJECT, run_script
from options.schema import OptionsError
from utils.arguments import Parser
from utils.image_io import ImageError, write_png
from utils.metadata import read_metadata
from utils.picture_files import picture_size

EXAMPLES = """examples:
  python app.py
  python app.py --port 8000 --checkpoint runs/mine/best.safetensors
  python app.py --host 0.0.0.0        # everybody in your network may use it
"""

WEIGHTS = (".safetensors", ".pth")


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for: files at once, megabytes of each, megapixels of each."""

    files: int = 20
    megabytes: int = 50
    megapixels: float = 60.0


@dataclass(frozen=True)
class Shown:
    """One dropped file: what there is to say, and the pictures where there is one to show.

    before: as other programs show it. after: restored, or, where ``restored`` is false, as it is.
    problem: why there is no picture.
    """

    source: Path
    facts: str
    before: Path | None = None
    after: Path | None = None
    restored: bool = True
    problem: str = ""

    @property
    def name(self) -> str:
        """How the visitor knows it."""
        return self.source.name


class Visits:
    """Who looks at the page, and what lies in ``folder`` for them; it goes when they leave.

    Gradio names the folders of uploads by their content, so that visitors may share one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, set[Path]] = {}
        self._lock = threading.Lock()

    def __contains__(self, visitor: str) -> bool:
        return visitor in self._held

    def come(self, visitor: str) -> None:
        """Somebody has opened the page."""
        with self._lock:
            self._held.setdefault(visitor, set())

    def begin(self, visitor: str, uploads: Iterable[str]) -> Path:
        """An empty folder for what is made of ``uploads``; what the visitor had before goes."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        with self._lock:
            earlier = self._held.get(visitor, set())
            self._held[visitor] = {made, *(Path(path).parent for path in uploads)}
            self._drop(earlier)
        return made

    def end(self, visitor: str, made: Path) -> None:
        """The work in a folder is done; nobody may be there any more to see it."""
        if visitor not in self:
            _remove(made)

    def leave(self, visitor: str) -> None:
        """Remove what nobody else holds; after the last visitor, whatever there is."""
        with self._lock:
            own = self._held.pop(visitor, set())
            self._drop(own if self._held else self.folder.iterdir())

    def _drop(self, paths: Iterable[Path]) -> None:
        held = set().union(*self._held.values())
        for path in paths:
            if path not in held:
                _remove(path)


def _remove(path: Path) -> None:
    """A file or a folder, as far as the system lets us."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class _TellingRestorer(Restorer):
    """Remembers in how many tiles the last picture was restored."""

    tiles = 1

    def restore_in_tiles(self, stored: StoredJpeg, side: int) -> NDArray[np.uint8]:
        height, width = (n + -n % MULTIPLE for n in (stored.height, stored.width))
        self.tiles = sum(1 for _ in tiles(height, width, side, self.around))
        return super().restore_in_tiles(stored, side)


@dataclass
class Desk:
    """Restores dropped files; keeps the network that was used last."""

    limits: Limits
    device: str = "auto"
    _loaded: tuple[tuple[str, Precision], _TellingRestorer] | None = field(default=None, repr=False)

    def restore(
        self,
        paths: Sequence[str],
        folder: Path,
        checkpoint: str,
        precision: Precision,
        tell: Callable[[float, str], None],
        strength: float = 1.0,
    ) -> list[Shown]:
        """What became of each file, in order.

        folder: where pictures go. tell: called with the share that is done and the name of the file
        at hand. strength: how much of the change to apply, 0 to 1.

        Raises:
            OptionsError: too many files. CheckpointError: unusable weights.
        """
        if len(paths) > self.limits.files:
            raise OptionsError(
                f"{len(paths)} files are more than {self.limits.files} at once; drop fewer, or use "
                "test_real_IJCN.py"
            )
        self.load(checkpoint, precision).strength = strength
        shown = []
        for index, path in enumerate(map(Path, paths)):
            tell(index / len(paths), path.name)
            # Two files of the same name must not meet.
            shown.append(self._restore_one(path, folder / str(index)))
        return shown

    def load(self, checkpoint: str, precision: Precision = "auto") -> Restorer:
        """Take a network at hand.

        Raises:
            CheckpointError: unusable weights.
        """
        key = checkpoint, precision
        if self._loaded is None or self._loaded[0] != key:
            network = load_checkpoint(Path(checkpoint))
            self._loaded = key, _TellingRestorer(network, self.device, precision)
        return self._loaded[1]

    def _restore_one(self, path: Path, folder: Path) -> Shown:
        try:
            if path.stat().st_size > self.limits.megabytes * 1_000_000:
                return _failed(
                    path, f"larger than {self.limits.megabytes} MB; use test_real_IJCN.py for it"
                )
            data = path.read_bytes()
        except OSError:
            return _failed(path, "no longer here; drop it again")
        assert self._loaded is not None
        (checkpoint, _), restorer = self._loaded
        target = folder / f"{path.stem}.png"
        settings = OutputSettings(max_pixels=round(self.limits.megapixels * 1e6))
        result = restore_file(FileJob(path, target), restorer, settings)
        if result.status == "failed":
            return _failed(path, result.message)
        restored = result.status == "restored"
        # Sampling factors without a name are nothing for people.
        done = re.sub(r" \[\(.*?\)\]", "", result.message)
        done = done.replace("decoded, not restored: ", "**Not restored**, shown as it is: ")
        if restored:
            by = f"with {Path(checkpoint).name}, backbone in {_name(restorer.precision)}"
            many = f", in {restorer.tiles} tiles" if restorer.tiles > 1 else ""
            part = f", strength {restorer.strength:g}" if restorer.strength < 1 else ""
            done = f"Restored in {result.seconds:.1f} s {by}{many}{part}.\n\n{done}"
        orientation = read_metadata(data).orientation
        facts = f"{done}\n\n{_facts(data, orientation)}"
        before = folder / "before" / target.name
        shows_both = restored and _write_before(data, before)
        return Shown(path, facts, before if shows_both else None, target, restored)


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


def _failed(path: Path, problem: str) -> Shown:
    return Shown(path, f"**Not restored**: {problem}", restored=False, problem=problem)


def _write_before(data: bytes, picture: Path) -> bool:
    """Write a file as other programs show it, unless they would not."""
    try:
        write_png(picture, as_looked_at(data, picture.name))
    except (JpegError, ImageError):
        return False
    return True


def _facts(data: bytes, orientation: int) -> str:
    """What a file says of itself, as Markdown."""
    if is_jpeg(data):
        try:
            return jpeg_facts(read_jpeg(data, collect_warnings=True), len(data), orientation)
        except JpegError as error:
            return str(error)
    width, height = _as_looked_at(picture_size(data) or (0, 0), orientation)
    return f"**{width} x {height}** pixels, {len(data) / 1000:.0f} kB, not a JPEG file"


def _as_looked_at(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of a stored picture once it is turned (EXIF 2.32, 4.6.4 A)."""
    return (size[1], size[0]) if orientation >= 5 else size


def jpeg_facts(stored: JpegImage, size: int, orientation: int = 1) -> str:
    """What a JPEG of ``size`` bytes says of itself, as Markdown."""
    estimate = estimate_quality(stored)
    about = "" if estimate.exact else "about "
    width, height = _as_looked_at((stored.width, stored.height), orientation)
    sampling = f", chroma {stored.sampling.value}" if stored.sampling else ""
    lines = [
        f"**{width} x {height}** pixels, {size / 1000:.0f} kB, {stored.colors}{sampling}",
        "",
        f"**Quality {about}{estimate.quality}** (libjpeg's scale, from the quantisation tables"
        + ("" if estimate.exact else ", which are not libjpeg's")
        + ")",
    ]
    order = ", from coarse structures (top left) to fine ones"
    for whose, table in _tables(stored):
        lines += [
            "",
            f"Quantisation steps{whose}{order}:",
            "",
            "```text",
            *(" ".join(f"{step:3d}" for step in row) for row in table),
            "```",
        ]
        order = ""  # said once
    return "\n".join(lines)


def _tables(stored: JpegImage) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """The tables that differ, each with whose it is, unless it is everybody's."""
    names = _COMPONENTS.get(stored.colors, ())
    owners: dict[bytes, list[int]] = {}
    for index, component in enumerate(stored.components):
        owners.setdefault(component.table.tobytes(), []).append(index)
    for indices in owners.values():
        whose = " and ".join(names[i] if i < len(names) else f"component {i + 1}" for i in indices)
        yield f" of {whose}" if len(owners) > 1 else "", stored.components[indices[0]].table


_COMPONENTS = {
    "YCbCr": ("luma", "Cb", "Cr"),
    "YCCK": ("luma", "Cb", "Cr", "black"),
    "RGB": ("red", "green", "blue"),
    "CMYK": ("cyan", "magenta", "yellow", "black"),
}


def known_checkpoints(more: Sequence[str]) -> list[str]:
    """Weights to choose from: those named, then all in ``model_zoo/``.

    Raises:
        OptionsError: there are none, or a named one does not exist.
    """
    for path in more:
        if not Path(path).is_file():
            raise OptionsError(f"checkpoint {path} not found; see model_zoo/README.md")
    zoo = sorted(p for p in (PROJECT / "model_zoo").glob("*") if p.suffix in WEIGHTS)
    found = list(dict.fromkeys([*more, *map(str, zoo)]))
    if not found:
        raise OptionsError("no checkpoint in model_zoo/; name one with --checkpoint")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Body of ``app.py``; returns its exit code."""
    parser = Parser(
        description="A local page in the browser: drop JPEGs, compare, download.",
        epilog=EXAMPLES,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=7860, help="port (7860)")
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="PATH", help="weights besides model_zoo/"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument("--max_files", type=_count, default=Limits.files, help="at once (20)")
    parser.add_argument("--max_megabytes", type=_count, default=Limits.megabytes, help="each (50)")
    parser.add_argument(
        "--max_pixels", type=_megapixels, default=Limits.megapixels, help="megapixels (60)"
    )
    parser.add_argument("--browser", action="store_true", help="open the page in a browser")
    args = parser.parse_args(arguments)
    try:
        return run_script(lambda: _serve(args), (OptionsError, CheckpointError, ImageError))
    except _Ended as ended:
        return 128 + ended.signal


class _Ended(BaseException):
    """A signal asks for the end, as KeyboardInterrupt does."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port lies in 1..65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, got {text!r}")
    return int(text)


def _megapixels(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"a number from 1 on, got {text!r}")
    return number


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
    for checkpoint in reversed(args.checkpoint or checkpoints[:1]):  # the first one stays at hand
        desk.load(checkpoint)
    remove_stale_folders(Path(tempfile.gettempdir()))
    _end_on_signals()
    prefix = f"{_PREFIX}{os.getpid()}_"
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
                **_style(),
            )
        except OSError as error:
            raise OptionsError(
                f"port {args.port} on {host} cannot be used; choose another --port"
            ) from error
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
    foreign = OptionsError(
        f"--host {host} is no address of this machine; give one, or 0.0.0.0 for all of them"
    )
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise foreign from error
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        if os.name == "posix":  # elsewhere this would share a port that is taken
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise foreign from error
            raise OptionsError(
                f"port {port} on {host} cannot be used ({error.strerror or error}); "
                "choose another --port"
            ) from error


_PREFIX = "ijcn_page_"
"""Of the temporary folder's name; the process id follows."""


def remove_stale_folders(parent: Path) -> None:
    """Remove what pages left whose process was killed."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask for a process
        return
    for folder in parent.glob(f"{_PREFIX}*_*"):
        process = folder.name.removeprefix(_PREFIX).partition("_")[0]
        if process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether another process has this number: a restarted container gives the same ones again."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the page in order, as Ctrl-C does, with a shell's exit code."""
    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows: one
    heeded = [n for n in numbers if n is not None and signal.getsignal(n) is signal.SIG_DFL]

    def end(number: int, frame: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    for number in heeded:
        signal.signal(number, end)


def build_page(desk: Desk, visits: Visits, checkpoints: Sequence[str]) -> Any:
    """The page as Gradio blocks, not yet listening.

    Raises:
        OptionsError: Gradio is not installed.
    """
    gradio = _gradio()

    def run(
        paths: list[str] | None,
        checkpoint: str,
        precision: Precision,
        strength: float,
        request: Any,
        progress: Any = gradio.Progress(),  # noqa: B008 - how Gradio passes it in
    ) -> tuple[Any, ...]:
        if not paths:
            raise gradio.Error("Drop a picture first.", print_exception=False)
        visitor = request.session_hash

        def tell(done: float, name: str) -> None:
            if visitor not in visits:
                raise gradio.Error("Nobody is waiting for it.", print_exception=False)
            progress(done, desc=name)

        folder = visits.begin(visitor, paths)
        try:
            shown = desk.restore(paths, folder, checkpoint, precision, tell, strength)
        except (OptionsError, CheckpointError) as error:
            gradio.Warning(str(error))
            return overview([], 0, f"**Not restored**: {error}")
        finally:
            visits.end(visitor, folder)
        for each in shown:
            if each.problem:
                gradio.Warning(f"{each.name}: {each.problem}")
        return overview(shown, 0)

    def keep_listed(paths: list[str] | None, shown: list[Shown], index: int | None) -> Any:
        """Show no more than what is in the list of files."""
        kept = [each for each in shown if str(each.source) in (paths or [])]
        if paths and len(kept) == len(shown):
            return gradio.skip()
        at_hand = shown[index] if shown and index is not None else None
        return overview(kept, kept.index(at_hand) if at_hand in kept else 0)

    def overview(shown: list[Shown], index: int, message: str = "") -> tuple[Any, ...]:
        names = [(each.name, place) for place, each in enumerate(shown)]
        files = [str(each.after) for each in shown if each.after and each.restored]
        *pictures, facts = look(shown, index)
        return (
            shown,
            gradio.Radio(choices=names, value=index, visible=len(names) > 1),
            *pictures,
            message or facts,
            gradio.File(files or None, visible=bool(files)),
        )

    def look(shown: list[Shown], index: int | None) -> tuple[Any, Any, Any, str]:
        each = shown[index] if shown and index is not None else None
        before = each and each.before
        after = each and each.after
        pair = (str(before), str(after)) if before and after else None
        alone = str(after) if after and not before else None
        return (
            gradio.Radio(value=_BOTH, visible=bool(pair)),
            gradio.ImageSlider(pair, visible=bool(pair), slider_position=_POSITIONS[_BOTH]),
            gradio.Image(alone, visible=bool(alone)),
            f"### {each.name}\n\n{each.facts}" if each else "",
        )

    def come(request: Any) -> None:
        visits.come(request.session_hash)

    def leave(request: Any) -> None:
        visits.leave(request.session_hash)

    for function in (run, come, leave):
        # Gradio knows the argument by its class, which nobody here may import before it is time.
        function.__annotations__["request"] = gradio.Request

    with gradio.Blocks(
        title="Remove JPEG artifacts", analytics_enabled=False, delete_cache=(600, 43200)
    ) as page:
        gradio.Markdown(
            "# Remove JPEG artifacts\n"
            "Drop JPEGs (or pictures that once were JPEGs). They are restored on this machine; "
            "nothing is sent anywhere, and nothing is kept after you leave. "
            f"At most {desk.limits.files} files of {desk.limits.megabytes} MB and "
            f"{desk.limits.megapixels:g} megapixels each."
        )
        shown = gradio.State([])
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                files = gradio.File(
                    label="Pictures",
                    file_count="multiple",
                    file_types=list(_TAKEN),
                    elem_id="pictures",
                )
                with gradio.Accordion("Settings", open=False):
                    checkpoint = gradio.Dropdown(
                        [(Path(path).name, path) for path in checkpoints],
                        value=checkpoints[0],
                        label="Weights",
                    )
                    precision = gradio.Radio(
                        get_args(Precision),
                        value="auto",
                        label="Precision of the backbone",
                        info="auto: bfloat16 where the hardware has it",
                    )
                    strength = gradio.Slider(
                        0,
                        1,
                        value=1,
                        step=0.05,
                        label="Strength",
                        info="how much of the change to apply",
                        elem_id="strength",
                    )
                    again = gradio.Button("Restore again")
                choice = gradio.Radio([], label="Picture", visible=False, elem_id="choice")
                done = gradio.File(
                    label="Restored, as PNG with colour profile and EXIF",
                    file_count="multiple",
                    interactive=False,
                    visible=False,
                    elem_id="restored",
                )
            with gradio.Column(scale=3):
                side = gradio.Radio(
                    list(_POSITIONS),
                    value=_BOTH,
                    label="Show",
                    visible=False,
                    elem_id="side",
                )
                slider = gradio.ImageSlider(
                    type="filepath",
                    label="before | restored",
                    interactive=False,
                    visible=False,
                    max_height=720,
                    elem_id="slider",
                )
                picture = gradio.Image(
                    type="filepath",
                    show_label=False,
                    interactive=False,
                    visible=False,
                    buttons=["download", "fullscreen"],
                    elem_id="picture",
                )
                facts = gradio.Markdown(elem_id="facts")
        looked_at = [side, slider, picture, facts]
        outputs = [shown, choice, *looked_at, done]
        keeping = {"fn": keep_listed, "inputs": [files, shown, choice], "outputs": outputs}
        for event in (files.upload, again.click):
            # What was taken off the list meanwhile is not shown either.
            event(
                run,
                [files, checkpoint, precision, strength],
                outputs,
                concurrency_limit=1,
                concurrency_id="network",
            ).then(**keeping)
        for event in (files.delete, files.clear):
            event(**keeping)
        choice.input(look, [shown, choice], looked_at)
        side.input(None, side, slider, js=_MOVE_SLIDER)
        page.load(come)
        page.unload(leave)
    return page.queue(api_open=False, max_size=50)


_TAKEN = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")

_BOTH = "both"
_POSITIONS = {"before": 100, _BOTH: 50, "restored": 0}
"""What can be shown -> place of the slider, in per cent: without dragging it, to flip quickly."""

_MOVE_SLIDER = (
    f"(side) => ({{__type__: 'update', slider_position: {json.dumps(_POSITIONS)}[side]}})"
)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise OptionsError(
            f'the page needs Gradio ({error}); install it with: pip install -e ".[app]"'
        ) from error
    return gradio


def _style() -> dict[str, Any]:
    """Fonts of the system, as the page must look right without a network, and what Gradio lacks."""
    fonts = ["system-ui", "sans-serif"]
    theme = _gradio().themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    return {"theme": theme, "footer_links": [], "css": _CSS, "head": _HEAD}


_CSS = """
#restored .label-clear-button { display: none; }  /* a list of results is not for removing */
"""

_HEAD = """<script>
// Gradio leaves the descriptions of pictures empty.
new MutationObserver(() => {
  const names = {"#slider img": ["before", "restored"], "#picture img": ["the picture"]};
  for (const [place, words] of Object.entries(names))
    document.querySelectorAll(place).forEach((image, i) => {
      if (image.alt !== words[i]) image.alt = words[i];
    });
}).observe(document, {childList: true, subtree: true});
</script>"""
