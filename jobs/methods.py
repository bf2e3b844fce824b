"""What is measured beside the JPEG: networks, pictures of other programs, jpegqs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.datasets import TestSet
from data.jpeg import decode_jpeg
from models.checkpoint import checkpoint_path, read_notes
from options.schema import OptionsError
from utils.evaluation.evaluate import (
    Image,
    Method,
    MissingPictures,
    Task,
    folder_name,
    one_by_one,
    picture_folders,
)
from utils.evaluation.tables import IJCN, JPEG
from utils.image_io import find_images, read_image
from utils.project import PROJECT
from utils.run_log import file_hash
from utils.scratch import scratch_folder

ZOO = PROJECT / "model_zoo"

JPEGQS = "jpegqs"
JPEGQS_OPTIONS = ("-q", "6")


@dataclass(frozen=True)
class Network:
    """Weights that are measured. name: of their rows. sha256: of the file."""

    name: str
    path: Path
    sha256: str


def identify(checkpoint: str) -> Network:
    """The network of a path or a word such as ``fast``; NAME=PATH chooses the name of the rows.

    Raises:
        CheckpointError: no such file.
    """
    name, path = _split_name(checkpoint)
    usual = name_of(path)
    return Network(name or usual, path, file_hash(path))


def name_of(path: Path) -> str:
    """What the rows of these weights are called.

    Released weights of the published network: IJCN. Ours: the name on their card in
    model_zoo/README.md, and "(ours)". Others: the training run and the file, or the file, with its
    folder where it is called as any training run calls its files.
    """
    notes = read_notes(path)
    if notes is None:
        return IJCN
    file = path.resolve()
    if file.parent == ZOO.resolve():
        return f"{_name_on_card(file.name) or file.stem} (ours)"
    if run := notes.get("run"):
        return f"{run} {path.stem}"
    return f"{file.parent.name} {path.stem}" if path.stem in ("best", "last") else path.stem


def _name_on_card(file: str) -> str:
    """The row "name" of the card of a file; empty without one."""
    text = (ZOO / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"## {file}\n")
    found = re.search(r"^\| name \| (.+?) \|$", rest.partition("\n## ")[0], re.MULTILINE)
    return found[1] if found else ""


def _split_name(text: str) -> tuple[str, Path]:
    """NAME=PATH, unless there is a file of that whole name."""
    path = checkpoint_path(text)
    name, equals, rest = text.partition("=")
    if path.exists() or not equals:
        return "", path
    return name, checkpoint_path(rest)


def other_methods(
    given: Iterable[str],
    sets: Sequence[TestSet],
    settings: Sequence[str],
    output: Path,
    strict: bool = True,
) -> tuple[list[Method], list[str]]:
    """Methods that are no networks of ours, and a line for each of their pictures that is extra.

    Args:
        given: ``NAME=FOLDER``, or ``jpegqs``.
        sets: what is measured.
        settings: labels of the degradations.
        output: the folder of results.
        strict: a folder without any of these settings is an error, else it is passed over.

    Raises:
        OptionsError: no such folder or program, or a folder where no setting is found.
    """
    methods: list[Method] = []
    notes: list[str] = []
    for text in given:
        name, _, folder = text.partition("=")
        if text == JPEGQS:
            methods.append(_jpegqs())
            continue
        if not name or not folder:
            raise OptionsError(
                f"--method {text}: expected NAME=FOLDER, such as FBCNN=results/fbcnn, or {JPEGQS}"
            )
        pictures = PictureFolder(name, Path(folder).expanduser(), sets, settings)
        _require_apart(pictures, sets, output)
        if not pictures.pictures:
            if strict:
                example = Path(folder) / sets[0].name / settings[0]
                raise OptionsError(
                    f"--method {name}: {folder} holds no folder of a setting, such as {example}"
                )
            continue
        methods.append(Method(name, one_by_one(pictures.read), own=False))
        notes += pictures.extra
    return methods, notes


def method_state(text: str) -> list[object]:
    """A method as it was given, with hashes of what its figures depend on: a program, pictures."""
    if text == JPEGQS:
        program = shutil.which(JPEGQS)
        return [text, *JPEGQS_OPTIONS, program and file_hash(Path(program))]
    _, _, folder = text.partition("=")
    pictures = find_images(Path(folder).expanduser(), follow_links=True) if folder else []
    return [text, *((str(path), _hash_of(path)) for path in pictures)]


def _hash_of(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError:
        return "unreadable"


def require_different_methods(names: Iterable[str]) -> None:
    """Rows are told apart by their names, and so are the folders of their pictures.

    Raises:
        OptionsError: a name that stands there twice, is that of the JPEG, or cannot be a name.
    """
    counts = Counter(names)
    folders = Counter(map(folder_name, counts))
    for name, count in counts.items():
        if name == JPEG:
            raise OptionsError(f"{name}: this name is of the JPEG itself; choose another")
        if not name.strip() or set(name) & set("/\\\n|"):
            raise OptionsError(f'{name!r}: names have no "/", "\\" or "|"; choose another')
        if folders[folder_name(name)] > 1:
            raise OptionsError(f"{name}: another name gives the same folder; choose another")
        if count > 1:
            raise OptionsError(
                f"{name} stands there twice; give it once, or another name: "
                "--checkpoint NAME=PATH, --method NAME=FOLDER"
            )


class PictureFolder:
    """Pictures that another program restored: of each image one, in one folder for each setting.

    They lie in ``FOLDER/SET/SETTING/NAME.png`` (as our own), or in ``FOLDER/SETTING/NAME.png``
    where one set is measured; a setting is called QF10 or 10. Any format that is read, any depth.

    extra: a line for each picture that is of no image of its set.

    Raises:
        OptionsError: no such folder.
    """

    def __init__(
        self, name: str, folder: Path, sets: Sequence[TestSet], settings: Sequence[str]
    ) -> None:
        if not folder.is_dir():
            raise OptionsError(
                f"--method {name}: {folder} is no folder; give the one that holds the pictures"
            )
        self.name = name
        self.folder = folder
        self.pictures: dict[tuple[str, str], tuple[Path, dict[str, list[Path]]]] = {}
        self.extra: list[str] = []
        for each in sets:
            images = {image.name for image in each}
            parents = [folder / each.name, folder] if len(sets) == 1 else [folder / each.name]
            for setting in settings:
                names = (setting, setting.removeprefix("QF"))
                tried = [parent / name for parent in parents for name in names]
                if place := next((place for place in tried if place.is_dir()), None):
                    listed = self._listed(place, each.name, images)
                    self.pictures[each.name, setting] = place, listed

    def _listed(self, place: Path, dataset: str, images: set[str]) -> dict[str, list[Path]]:
        """Pictures by the names of images that they may be of: without ending, and with it."""
        listed: dict[str, list[Path]] = {}
        for path in find_images(place, follow_links=True):
            inside = path.relative_to(place)
            names = (inside.with_suffix("").as_posix(), inside.as_posix())
            for name in names:
                listed.setdefault(name, []).append(path)
            if images.isdisjoint(names):
                self.extra.append(f"{self.name}: {path} is of no image of {dataset}")
        return listed

    def read(self, task: Task) -> Image:
        """The picture of a task, where others restore one.

        Raises:
            MissingPictures: there is none, or several. ImageError: it cannot be read.
        """
        if (task.dataset, task.setting) not in self.pictures:
            raise MissingPictures(
                f"{self.name}: no folder {task.setting} of {task.dataset} in {self.folder}"
            )
        place, listed = self.pictures[task.dataset, task.setting]
        found = listed.get(task.image, [])
        if not found:
            raise MissingPictures(f"{self.name}: no picture {task.image} in {place}")
        if len(found) > 1:
            raise MissingPictures(
                f"{self.name}: {len(found)} pictures are called {task.image} in {place}; keep one"
            )
        return read_image(found[0])


def _require_apart(pictures: PictureFolder, sets: Sequence[TestSet], output: Path) -> None:
    """A method's pictures are no images of a set, and are not replaced by this run's."""
    folder = pictures.folder.resolve()
    start = f"--method {pictures.name}: {pictures.folder} lies"
    for each in sets:
        if each.folder is not None and folder.is_relative_to(each.folder.resolve()):
            raise OptionsError(
                f"{start} in the test set {each.folder}, where its pictures would be measured as "
                "images; move it out"
            )
    if any(folder.is_relative_to(place) for place in picture_folders(output.resolve())):
        raise OptionsError(
            f"{start} among the pictures that --output {output} replaces; choose another --output"
        )


def _jpegqs() -> Method:
    """JPEG Quant Smooth, a classical tool that writes a smoothed JPEG: found on the PATH.

    Raises:
        OptionsError: it is not installed.
    """
    program = shutil.which(JPEGQS)
    if program is None:
        raise OptionsError(
            f"--method {JPEGQS}: no such program is installed; get it from "
            f"https://github.com/ilyakurdyukov/jpeg-quantsmooth (Debian 13: package {JPEGQS}), "
            "or leave it out"
        )

    def smoothed(task: Task) -> Image:
        pixels = smooth(program, task.stored.data)
        return pixels if len(task.stored.components) > 1 else pixels[:, :, 0]

    return Method(" ".join((JPEGQS, *JPEGQS_OPTIONS)), one_by_one(smoothed))


def smooth(program: str, jpeg: bytes) -> Image:
    """A JPEG file's picture after jpegqs, RGB.

    Raises:
        ValueError: it failed. JpegError: it wrote no JPEG.
    """
    with tempfile.TemporaryDirectory(dir=scratch_folder(4 * len(jpeg))) as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        source.write_bytes(jpeg)
        done = subprocess.run(
            [program, *JPEGQS_OPTIONS, source, target], capture_output=True, text=True
        )
        if done.returncode or not target.is_file():
            words = " ".join((done.stderr or done.stdout).split()) or "no reason given"
            raise ValueError(f"{JPEGQS} failed: {words}")
        return decode_jpeg(target.read_bytes())
