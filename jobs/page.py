"""The local page (``python app.py``): what it does with dropped files, and how it looks.

Files are restored as ``test_real_IJCN.py`` restores them. All that is dropped or made lies in one
temporary folder; what belongs to a visitor goes when they leave, the rest when the page ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from data.jpeg import JpegError, JpegImage, decode_jpeg, read_jpeg
from data.quality import estimate_quality
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, restore_file
from models import CheckpointError, Restorer, load_checkpoint
from models.restorer import Precision, pick_device
from options.command_line import PROJECT, run_script
from options.schema import OptionsError
from utils.image_io import ImageError, read_image, write_png
from utils.picture_files import read_metadata, turned

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
    """One dropped file: its name, what there is to say, and the pictures where it was restored."""

    name: str
    facts: str
    before: Path | None = None
    after: Path | None = None
    problem: str = ""


@dataclass
class Desk:
    """Restores dropped files; keeps the network that was used last.

    scratch: folder of temporary files, one below it for each visit.
    """

    scratch: Path
    limits: Limits
    device: str = "auto"
    _loaded: tuple[tuple[str, Precision], Restorer] | None = field(default=None, repr=False)

    def restore(
        self,
        paths: Sequence[str],
        checkpoint: str,
        precision: Precision,
        tell: Callable[[float, str], None],
    ) -> list[Shown]:
        """What became of each file, in order.

        tell: called with the share that is done and the name of the file at hand.

        Raises:
            OptionsError: too many files. CheckpointError: unusable weights.
        """
        if len(paths) > self.limits.files:
            raise OptionsError(
                f"{len(paths)} files are more than {self.limits.files} at once; drop fewer, or use "
                "test_real_IJCN.py"
            )
        restorer = self._restorer(checkpoint, precision)
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        shown = []
        for index, path in enumerate(map(Path, paths)):
            tell(index / len(paths), path.name)
            # Two files of the same name must not meet.
            shown.append(self._restore_one(path, folder / str(index), restorer))
        return shown

    def _restorer(self, checkpoint: str, precision: Precision) -> Restorer:
        key = checkpoint, precision
        if self._loaded is None or self._loaded[0] != key:
            network = load_checkpoint(Path(checkpoint))
            self._loaded = key, Restorer(network, self.device, precision)
        return self._loaded[1]

    def _restore_one(self, path: Path, folder: Path, restorer: Restorer) -> Shown:
        if path.stat().st_size > self.limits.megabytes * 1_000_000:
            problem = f"larger than {self.limits.megabytes} MB; use test_real_IJCN.py for it"
            return Shown(path.name, problem, problem=problem)
        target = folder / f"{path.stem}.png"
        settings = OutputSettings(max_pixels=round(self.limits.megapixels * 1e6))
        result = restore_file(FileJob(path, target), restorer, settings)
        if result.status == "failed":
            return Shown(path.name, result.message, problem=result.message)
        try:
            before, facts = _before(path, folder)
        except (JpegError, ImageError) as error:  # damaged, yet restored as far as it went
            before, facts = None, str(error)
        if result.message:
            facts += f"\n\n{result.message}"
        facts += f"\n\n{result.status} in {result.seconds:.1f} s"
        return Shown(path.name, facts, before, target)


def _before(path: Path, folder: Path) -> tuple[Path, str]:
    """The file as other programs show it, and what it says of itself, as Markdown."""
    data = path.read_bytes()
    if data[:3] == b"\xff\xd8\xff":
        pixels = decode_jpeg(data)
        facts = jpeg_facts(read_jpeg(data), len(data))
    else:
        pixels = read_image(path)
        facts = f"**{pixels.shape[1]} x {pixels.shape[0]}** pixels, not a JPEG file"
    picture = folder / "before" / f"{path.stem}.png"
    write_png(picture, turned(pixels, read_metadata(data).orientation))
    return picture, facts


def jpeg_facts(stored: JpegImage, size: int) -> str:
    """What a JPEG of ``size`` bytes says of itself, as Markdown."""
    estimate = estimate_quality(stored)
    about = "" if estimate.exact else "about "
    sampling = f", chroma {stored.sampling.value}" if stored.sampling else ""
    lines = [
        f"**{stored.width} x {stored.height}** pixels, {size / 1000:.0f} kB, "
        f"{stored.colors}{sampling}",
        "",
        f"**Quality {about}{estimate.quality}** (libjpeg's scale, from the quantisation tables"
        + ("" if estimate.exact else ", which are not libjpeg's")
        + ")",
        "",
        "Steps of the luma table, from coarse structures (top left) to fine ones:",
        "",
        "```text",
        *(" ".join(f"{step:4d}" for step in row) for row in stored.components[0].table),
        "```",
    ]
    return "\n".join(lines)


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
    parser = argparse.ArgumentParser(
        description="A local page in the browser: drop JPEGs, compare, download.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="port (7860)")
    parser.add_argument(
        "--checkpoint", nargs="+", default=[], metavar="PATH", help="weights besides model_zoo/"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument("--max_files", type=int, default=Limits.files, help="at once (20)")
    parser.add_argument("--max_megabytes", type=int, default=Limits.megabytes, help="each (50)")
    parser.add_argument(
        "--max_pixels", type=float, default=Limits.megapixels, help="megapixels (60)"
    )
    parser.add_argument("--browser", action="store_true", help="open the page in a browser")
    args = parser.parse_args(arguments)
    return run_script(lambda: _serve(args), (OptionsError, CheckpointError, ImageError))


def _serve(args: argparse.Namespace) -> int:
    checkpoints = known_checkpoints(args.checkpoint)
    try:
        pick_device(args.device)
    except (ValueError, RuntimeError) as error:
        raise OptionsError(str(error).splitlines()[0]) from error
    limits = Limits(args.max_files, args.max_megabytes, args.max_pixels)
    with tempfile.TemporaryDirectory(prefix="ijcn_page_") as scratch:
        # Read by Gradio when it is imported: uploads lie there, and nobody is told of visits.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(scratch) / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        page = build_page(Desk(Path(scratch), limits, args.device), checkpoints)
        try:
            page.launch(
                server_name=args.host,
                server_port=args.port,
                inbrowser=args.browser,
                # Ours is the clearer message; this only keeps the disk from being filled.
                max_file_size=f"{4 * limits.megabytes}mb",
                allowed_paths=[scratch],
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
                **_style(),
            )
        except OSError as error:
            raise OptionsError(
                f"port {args.port} on {args.host} cannot be used; choose another --port"
            ) from error
        host, elsewhere = args.host, ""
        if host in ("0.0.0.0", "::"):  # every address of this machine is not an address itself
            host, elsewhere = "127.0.0.1", ", from elsewhere under this machine's name"
        print(f"the page is at http://{host}:{args.port}{elsewhere} (Ctrl-C ends it)", flush=True)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


def build_page(desk: Desk, checkpoints: Sequence[str]) -> Any:
    """The page as Gradio blocks, not yet listening.

    Raises:
        OptionsError: Gradio is not installed.
    """
    gradio = _gradio()

    def run(
        paths: list[str] | None,
        checkpoint: str,
        precision: Precision,
        earlier: list[Shown],
        progress: Any = gradio.Progress(),  # noqa: B008 - how Gradio passes it in
    ) -> tuple[Any, ...]:
        if not paths:
            raise gradio.Error("Drop a picture first.", print_exception=False)
        try:
            shown = desk.restore(
                paths, checkpoint, precision, lambda done, name: progress(done, desc=name)
            )
        except (OptionsError, CheckpointError) as error:
            raise gradio.Error(str(error), print_exception=False) from error
        forget(earlier)
        for each in shown:
            if each.problem:
                gradio.Warning(f"{each.name}: {each.problem}")
        names = [(each.name, index) for index, each in enumerate(shown)]
        files = [str(each.after) for each in shown if each.after]
        return (
            shown,
            gradio.Radio(choices=names, value=0, visible=len(names) > 1),
            *look(shown, 0),
            gradio.File(files or None, visible=bool(files)),
        )

    def look(shown: list[Shown], index: int | None) -> tuple[Any, Any]:
        if not shown or index is None:
            return gradio.ImageSlider(None, visible=False), ""
        each = shown[index]
        facts = f"### {each.name}\n\n{each.facts}"
        if each.problem:
            facts = f"### {each.name}\n\nNot restored: {each.problem}"
        if each.after is None:
            return gradio.ImageSlider(None, visible=False), facts
        before = each.before or each.after
        return gradio.ImageSlider((str(before), str(each.after)), visible=True), facts

    with gradio.Blocks(
        title="Remove JPEG artifacts", analytics_enabled=False, delete_cache=(600, 3600)
    ) as page:
        gradio.Markdown(
            "# Remove JPEG artifacts\n"
            "Drop JPEGs (or pictures that once were JPEGs). They are restored on this machine; "
            "nothing is sent anywhere, and nothing is kept after you leave. "
            f"At most {desk.limits.files} files of {desk.limits.megabytes} MB and "
            f"{desk.limits.megapixels:g} megapixels each."
        )
        shown = gradio.State([], delete_callback=forget)
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
                    again = gradio.Button("Restore again")
                choice = gradio.Radio([], label="Show", visible=False, elem_id="choice")
                done = gradio.File(
                    label="Restored, as PNG with colour profile and EXIF",
                    file_count="multiple",
                    interactive=False,
                    visible=False,
                    elem_id="restored",
                )
            with gradio.Column(scale=3):
                slider = gradio.ImageSlider(
                    type="filepath",
                    label="JPEG | restored",
                    interactive=False,
                    visible=False,
                    max_height=720,
                    elem_id="slider",
                )
                facts = gradio.Markdown(elem_id="facts")
        outputs = [shown, choice, slider, facts, done]
        inputs = [files, checkpoint, precision, shown]
        for event in (files.upload, again.click):
            event(run, inputs, outputs, concurrency_limit=1, concurrency_id="network")
        choice.input(look, [shown, choice], [slider, facts])
    return page.queue(api_open=False, max_size=50)


_TAKEN = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")


def forget(shown: Sequence[Shown]) -> None:
    """Remove the pictures of a visit."""
    for folder in {each.after.parent.parent for each in shown if each.after}:
        shutil.rmtree(folder, ignore_errors=True)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise OptionsError(
            f'the page needs Gradio ({error}); install it with: pip install -e ".[app]"'
        ) from error
    return gradio


def _style() -> dict[str, Any]:
    """Fonts of the system: the page must look right without a network."""
    fonts = ["system-ui", "sans-serif"]
    theme = _gradio().themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    return {"theme": theme, "footer_links": []}
