"""How the page looks, and what its parts do: Gradio blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jobs.page.desk import Desk, Shown
from jobs.page.visits import Visits
from models import CheckpointError
from models.checkpoint import SHIPPED
from models.restore.restorer import Precision
from options.schema import OptionsError
from utils.project import PROJECT


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
                gradio.Warning(f"{each.source.name}: {each.problem}")
        return overview(shown, 0)

    def keep_listed(paths: list[str] | None, shown: list[Shown], index: int | None) -> Any:
        """Show no more than what is in the list of files."""
        kept = [each for each in shown if str(each.source) in (paths or [])]
        if paths and len(kept) == len(shown):
            return gradio.skip()
        at_hand = shown[index] if shown and index is not None else None
        return overview(kept, kept.index(at_hand) if at_hand in kept else 0)

    def overview(shown: list[Shown], index: int, message: str = "") -> tuple[Any, ...]:
        names = [(each.source.name, place) for place, each in enumerate(shown)]
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
            f"### {_plain(each.source.name)}\n\n{each.facts}" if each else "",
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
                        [(_label(path), path) for path in checkpoints],
                        value=checkpoints[0],
                        label="Weights",
                        info="fast: about a quarter of the time on a CPU, somewhat less gain",
                    )
                    precision = gradio.Radio(
                        get_args(Precision),
                        value="auto",
                        label="Precision of the backbone",
                        info="auto: the fastest that the hardware has; results look the same",
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


def _plain(name: str) -> str:
    """A file's name as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$-])", r"\\\1", name)


def _label(checkpoint: str) -> str:
    """A file's name, with the word for it where it is one of the shipped ones."""
    name = Path(checkpoint).name
    words = [word for word, path in SHIPPED.items() if PROJECT / path == Path(checkpoint)]
    return f"{words[0]} ({name})" if words else name


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise OptionsError(
            f'the page needs Gradio ({error}); install it with: pip install -e ".[app]"'
        ) from error
    return gradio


def page_style() -> dict[str, Any]:
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
