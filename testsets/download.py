"""Fetch evaluation sets from their public places, and check them by the hash of their pixels."""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import gzip
import hashlib
import http.client
import io
import lzma
import re
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

# Run as a script, only this file's folder would be searched.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.arguments import Parser, printable
from utils.commands import as_started, command_parser
from utils.image_io import (
    IMAGE_SUFFIXES,
    ImageError,
    find_images,
    read_image,
    read_image_bytes,
    require_writable,
    write_atomically,
)
from utils.pictures import gray_if_equal
from utils.scripts import EXIT_FAILED, run_script

HERE = Path(__file__).resolve().parent

EXAMPLES = """  python testsets/download.py LIVE1_color Classic5
  python testsets/download.py Urban100 --output ~/testsets
  python testsets/download.py ICB_color --url ICB_color=file:///path/to/rgb8bit.zip
  python testsets/download.py --verify
  python testsets/download.py --list

A download that broke off or was stopped goes on where it was when the same command is run again.
"""


@dataclass(frozen=True)
class Source:
    """Where a set comes from.

    Args:
        name: the set, and its folder. url: the zip or tar.gz archive that holds it, which several
        sets may share; or, with a ``/`` at the end, the place of single files. members: glob for
        the images in the archive, matched from the right and whatever the case; of single files
        their name, with ``{}`` for 1 to ``count``. count: images in the whole set.
    """

    name: str
    url: str
    members: str
    count: int

    def files(self) -> dict[str, str]:
        """Name and address of each single file; empty where there is an archive."""
        if not self.url.endswith("/"):
            return {}
        names = [self.members.format(number + 1) for number in range(self.count)]
        return {name: self.url + name for name in names}


FBCNN = "https://github.com/jiaxi-jiang/FBCNN/archive/HEAD.zip"
BSDS500 = (
    "http://web.archive.org/web/20160306133802/http://www.eecs.berkeley.edu/"
    "Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
)
URBAN100 = (
    "https://huggingface.co/datasets/eugenesiow/Urban100/resolve/main/data/"
    "Urban100_HR.tar.gz?download=true"
)
ICB = "http://imagecompression.info/test_images/rgb8bit.zip"
KODAK = "https://r0k.us/graphics/kodak/kodak/"

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("LIVE1_color", FBCNN, "testsets/LIVE1_color/*", 29),
        Source("Classic5", FBCNN, "testsets/Classic5/*", 5),
        Source("BSDS500_color", BSDS500, "BSDS500/data/images/test/*.jpg", 200),
        Source("Urban100", URBAN100, "*.png", 100),
        Source("ICB_color", ICB, "*.ppm", 15),
        Source("Kodak24", KODAK, "kodim{:02}.png", 24),
    )
}


class DownloadError(Exception):
    """A set that cannot be had; the message is one line: what, why, what to do."""


class KnownImage(NamedTuple):
    """One row of the manifest: an image of a set, whatever its file format."""

    dataset: str
    image: str
    width: int
    height: int
    channels: int
    sha256: str


def describe_pixels(dataset: str, name: str, image: NDArray[np.uint8]) -> KnownImage:
    """The manifest's row of an image: 8-bit RGB (H, W, 3), or gray (H, W).

    Three equal channels count as gray, since some formats cannot say so. The hash is SHA-256 over
    the ASCII line ``<width>x<height>x<channels>\\n``, then the samples row by row: R G B of each
    pixel, or the one gray sample.
    """
    image = gray_if_equal(image)
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    digest = hashlib.sha256(f"{width}x{height}x{channels}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return KnownImage(dataset, name, width, height, channels, digest.hexdigest())


def read_manifest(path: Path) -> dict[str, list[KnownImage]]:
    """Rows of a manifest file, per set, in their order.

    Raises:
        DownloadError: missing, or not a manifest.
    """
    groups: dict[str, list[KnownImage]] = {}
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        if tuple(header) != KnownImage._fields:
            raise ValueError("other columns")
        for dataset, image, width, height, channels, sha256 in rows:
            row = KnownImage(dataset, image, int(width), int(height), int(channels), sha256)
            groups.setdefault(dataset, []).append(row)
    except (OSError, csv.Error, ValueError) as error:
        raise DownloadError(
            f"{path} is not a manifest ({error}); restore it, or write one with --write-manifest"
        ) from error
    return groups


def write_manifest(root: Path, path: Path) -> dict[str, int]:
    """Describe the sets below ``root`` in the manifest ``path``; returns images per set.

    A set is looked for in ``root/NAME``, then ``root/NAME_partial``. Rows of sets that are not
    there are kept.

    Raises:
        DownloadError: no set there. ImageError: an image that cannot be read.
    """
    rows: dict[str, list[KnownImage]] = {name: [] for name in SOURCES}
    if path.exists():
        rows |= read_manifest(path)
    counts = {}
    for name in SOURCES:
        if images := find_images(root / name) or find_images(root / f"{name}_partial"):
            rows[name] = [describe_pixels(name, p.stem, read_image(p)) for p in images]
            counts[name] = len(images)
    if not counts:
        raise DownloadError(f"no set in {root}; it needs folders such as {', '.join(SOURCES)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(KnownImage._fields)
    writer.writerows(row for group in rows.values() for row in group)
    write_atomically(path, text.getvalue())
    return counts


@dataclass
class Report:
    """What a folder holds, against what the set should hold.

    Args:
        known: rows of the manifest. found: image files. verified: those whose pixels are known,
        each once. repeated: more files with the pixels of a verified one. unknown: readable, with
        neither pixels nor a name of the manifest. damaged: unreadable. different: named as a known
        image but with other pixels. missing: known images that are not there under any name.
    """

    source: Source
    folder: Path
    known: int
    found: int
    verified: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def incomplete(self) -> bool:
        """Whether fetching the set could mend it."""
        short = self.found < self.source.count
        return bool(short or self.damaged or self.different or self.missing)

    def summary(self) -> str:
        """One line for a person."""
        line = (
            f"{self.source.name}: {self.found} of {self.source.count} images found, "
            f"{len(self.verified)} verified, {len(self.unknown)} unknown, "
            f"{len(self.damaged) + len(self.different)} damaged or different ({self.folder})"
        )
        unhashed = self.source.count - self.known
        if unhashed > 0:
            line += f"; {unhashed} images carry no known hash, for them only the count is checked"
        return line

    def problems(self) -> list[str]:
        """What is wrong, with the names of the files; empty if the set can be used."""
        # Without a hash of each image, one that is not known may belong to the set.
        may_belong = self.known < self.source.count >= self.found
        groups = {
            "cannot be read": self.damaged,
            "other pixels than the known image": self.different,
            "missing": self.missing,
            "not of this set, to be removed": self.repeated + ([] if may_belong else self.unknown),
        }
        texts = [f"{what}: {_some(names)}" for what, names in groups.items() if names]
        short = self.source.count - self.found
        if short > len(self.missing):
            texts.append(f"{short} of {self.source.count} images are not there")
        if any(name.lower().endswith((".jpg", ".jpeg")) for name in self.different):
            texts.append("a JPEG decoder other than libjpeg-turbo's default gives other pixels too")
        return texts


def _some(names: Sequence[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def inspect_set(source: Source, folder: Path, known: Sequence[KnownImage]) -> Report:
    """Compare a folder with the manifest's rows of its set, by pixels, then by name."""
    names = {row.image.casefold(): row.image for row in known}
    absent = {row.sha256: row.image for row in known}
    hashes = set(absent)
    images = find_images(folder)
    report = Report(source, folder, len(known), len(images))
    claimed: set[str | None] = set()
    for path in tqdm(images, f"{source.name}: checking", unit=" images", leave=False, disable=None):
        shown = str(path.relative_to(folder))
        like = names.get(path.stem.casefold())
        try:
            digest = describe_pixels(source.name, path.stem, read_image(path)).sha256
        except ImageError:
            report.damaged.append(shown)
            claimed.add(like)
            continue
        if absent.pop(digest, None) is not None:
            report.verified.append(shown)
        elif digest in hashes:
            report.repeated.append(shown)
        elif like is not None:
            report.different.append(shown)
            claimed.add(like)
        else:
            report.unknown.append(shown)
    report.missing = [image for image in absent.values() if image not in claimed]
    return report


ATTEMPTS = 5
"""Tries in a row that bring nothing before a download is given up."""

PAUSE_S = 1.0
"""Wait before the second try; doubled before each further one."""

TIMEOUT_S = 30.0
"""Longest silence of a server."""

CHUNK = 1 << 18

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EISDIR}
"""Errors of the system after which another try is no use."""


def fetch(url: str, target: Path) -> None:
    """Download ``url`` to ``target``, going on from ``target.part`` where there is one.

    Whether the file on the server is still the same is not asked: archives and PNGs have checksums.

    Raises:
        DownloadError: not to be had, or nothing came ``ATTEMPTS`` times in a row.
    """
    part = target.with_name(target.name + ".part")
    failures, reached = 0, _size(part)
    while True:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _transfer(url, part)
            part.replace(target)
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise DownloadError(
                    f"{part}: cannot be written ({error.strerror}); make room, or choose another "
                    "--output, and run the same command again to go on"
                ) from error
            failures = 1 if _size(part) > reached else failures + 1
            reached = max(reached, _size(part))
            if failures == ATTEMPTS:
                raise DownloadError(
                    f"{url}: {error}, {ATTEMPTS} times in a row; check the network and the disk, "
                    "and run the same command again to go on"
                ) from error
            pause = PAUSE_S * 2 ** (failures - 1)
            note = printable(f"{url}: {error}; next try in {pause:g} s")
            print(f"note: {note}", file=sys.stderr)
            time.sleep(pause)


def _transfer(url: str, part: Path) -> None:
    """Bring ``part`` to its full length with one request.

    Raises:
        DownloadError: another try is no use. All else: it may be.
    """
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "ijcn-testsets/1"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"answered {error.code} {error.reason}"
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
        elif error.code < 500 and error.code != http.client.TOO_MANY_REQUESTS:
            raise DownloadError(
                f"{url} {answer}; open it in a browser, or name a mirror or a downloaded file "
                "(--url NAME=URL)"
            ) from error
        raise ConnectionError(answer) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url}: not an address ({error}); check --url") from error
    except OSError as error:
        if request.type == "file":
            raise DownloadError(f"{error}; check the address (--url NAME=URL)") from error
        raise
    with response:
        goes_on = response.status == http.client.PARTIAL_CONTENT  # None for file: addresses
        have = have if goes_on else 0
        length = response.headers["Content-Length"]
        total = have + int(length) if length and length.isdecimal() else None
        bar = tqdm(
            desc=_bare(url), initial=have, total=total, unit="B", unit_scale=True, disable=None
        )
        with part.open("ab" if goes_on else "wb") as file, bar:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise ConnectionError(f"connection lost after {_size(part)} of {total} bytes")


def _size(path: Path) -> int:
    """Bytes in a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _bare(url: str) -> str:
    """The last part of an address."""
    return re.sub(r"[^\w.-]", "_", PureWindowsPath(urlsplit(url).path).name)


ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    MemoryError,  # sizes that are none
    OSError,  # of gzip and bz2
    ValueError,  # names that cannot be decoded, places before the file's beginning
    RuntimeError,  # zipfile: encrypted, unknown compression
)
"""What reading a damaged archive may raise."""


def _unpack(archive: Path, source: Source, folder: Path) -> None:
    """Write the images of a set that match ``source.members`` into ``folder``, by their bare names.

    Each is read whole and its checksum compared before it gets its name.
    """
    members = _members(archive, source.members)
    found = 0
    while True:
        try:
            member = next(members, None)
        except ARCHIVE_ERRORS as error:
            with archive.open("rb") as file:
                head = file.read(40)
            raise DownloadError(
                f"what came from {source.url} is damaged, or no zip or tar.gz archive ({error}); "
                f"it starts with {head!r} and is removed; run the same command again to fetch it "
                "anew, open the address in a browser, or name a mirror (--url)"
            ) from error
        if member is None:
            break
        found += 1
        name, data = member
        write_atomically(folder / name, data)
    if not found:
        raise DownloadError(
            f"no image like {source.members} in what came from {source.url}; name another place "
            "(--url)"
        )


def _members(archive: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Bare name and content of the image files of an archive that match a glob."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if _wanted(info.filename, pattern):
                    yield PureWindowsPath(info.filename).name, zipped.read(info)
        return
    with gzip.open(archive) as stream:  # its one checksum, at the end, is of all of it
        while stream.read(CHUNK):
            pass
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None and _wanted(member.name, pattern):
                yield PureWindowsPath(member.name).name, content.read()


def _wanted(name: str, pattern: str) -> bool:
    path = PureWindowsPath(name)  # it takes both kinds of slashes, and no case for another
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in IMAGE_SUFFIXES and path.match(pattern)


def _parser() -> Parser:
    parser = command_parser(__doc__, EXAMPLES, "python testsets/download.py")
    parser.add_argument(
        "names", nargs="*", type=_known_set, metavar="NAME", help=f"sets: {', '.join(SOURCES)}"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=HERE,
        metavar="DIR",
        help="where the folders NAME go or are (default: this script's folder)",
    )
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        type=_mirror,
        metavar="NAME=URL",
        help="take a set from another place, an archive or (Kodak24) a folder with / at the end; "
        "http, https or file",
    )
    parser.add_argument(
        "--keep-archives", action="store_true", help="keep archives, in DIR/.downloads"
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        default=HERE / "manifest.csv",
        metavar="FILE",
        help="hashes of known images (default: manifest.csv beside this script)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--list", action="store_true", help="list the sets")
    mode.add_argument(
        "--verify",
        action="store_true",
        help="check sets on disk, without network (default: all that are there)",
    )
    mode.add_argument(
        "--write-manifest", type=Path, metavar="DIR", help="hash the sets in DIR into the manifest"
    )
    return parser


def _known_set(name: str) -> str:
    if name not in SOURCES:
        raise argparse.ArgumentTypeError(f"no set {name!r}; there are {', '.join(SOURCES)}")
    return name


def _mirror(text: str) -> Source:
    """The source NAME with the address URL, of NAME=URL."""
    name, _, url = text.partition("=")
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("https", "http", "file"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=URL with https, http or file")
    source = SOURCES[_known_set(name)]
    if url.endswith("/") and not source.files():
        raise argparse.ArgumentTypeError(f"{name} is taken from an archive, not from {url}")
    return replace(source, url=url)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(arguments)
    mirrors = {source.name: source for source in args.url}
    if args.names and (args.list or args.write_manifest is not None):
        parser.error("--list and --write-manifest take no set names")
    if not mirrors.keys() <= set(args.names):
        parser.error(f"--url: {', '.join(mirrors)} must be among the sets to fetch")
    if not (args.names or args.list or args.verify or args.write_manifest):
        parser.error(f"name the sets to fetch, of {', '.join(SOURCES)}")
    stopped = "stopped; run the same command again to go on"
    return run_script(lambda: _run(args, mirrors), stopped=stopped)


def _run(args: argparse.Namespace, mirrors: Mapping[str, Source]) -> int:
    output = args.output.expanduser()
    try:
        if args.write_manifest is not None:
            for name, count in write_manifest(args.write_manifest, args.manifest).items():
                print(f"{name}: {count} of {SOURCES[name].count} images written to {args.manifest}")
            return 0
        known = read_manifest(args.manifest)
        if args.list:
            return _list(output, known)
        if args.verify:
            return _verify(args.names, output, known)
        sources = [mirrors.get(name, SOURCES[name]) for name in dict.fromkeys(args.names)]
        return _fetch_sets(sources, output, known, args.keep_archives)
    except (DownloadError, ImageError) as error:
        return _failed(str(error))


def _failed(message: str) -> int:
    """Print an error, and return the exit code."""
    print(f"error: {printable(as_started(message))}", file=sys.stderr)
    return EXIT_FAILED


def _list(output: Path, known: Mapping[str, Sequence[KnownImage]]) -> int:
    print(f"{'set':<15}{'images':>7}{'hashes':>8}{'here':>6}  source")
    for source in SOURCES.values():
        here = len(find_images(output / source.name))
        hashes = len(known.get(source.name, ()))
        print(f"{source.name:<15}{source.count:>7}{hashes:>8}{here:>6}  {source.url}")
    return 0


def _verify(names: Sequence[str], output: Path, known: Mapping[str, list[KnownImage]]) -> int:
    there = [name for name in SOURCES if (output / name).is_dir()]
    if not names and not there:
        raise DownloadError(
            f"no set in {output}; fetch one (python testsets/download.py LIVE1_color), or give "
            "another --output"
        )
    code = 0
    for name in names or there:
        remedy = f"(python testsets/download.py {name})"
        if name in there:
            report = inspect_set(SOURCES[name], output / name, known.get(name, []))
            code = max(code, _show(report, f"fetch it again {remedy}"))
        else:
            code = _failed(f"{output / name} is not a folder; fetch it {remedy}")
    return code


def _show(report: Report, remedy: str) -> int:
    """Print a report, and what is wrong; returns the exit code."""
    print(printable(report.summary()), flush=True)
    problems = report.problems()
    if not problems:
        return 0
    if report.incomplete:
        problems.append(remedy)
    return _failed(f"{report.source.name}: {'; '.join(problems)}")


def _fetch_sets(
    sources: Sequence[Source],
    output: Path,
    known: Mapping[str, list[KnownImage]],
    keep_archives: bool,
) -> int:
    """Fetch the sets that are not complete on disk; one that fails does not stop the others."""

    def inspect(source: Source) -> Report:
        return inspect_set(source, output / source.name, known.get(source.name, []))

    reports = {source: inspect(source) for source in sources}
    wanted = [source for source in sources if reports[source].incomplete]
    if wanted:
        require_writable(output)
    failed: list[Source] = []
    for url in dict.fromkeys(source.url for source in wanted):
        group = [source for source in wanted if source.url == url]
        names = ", ".join(source.name for source in group)
        print(f"{names}: fetching {url}", flush=True)
        try:
            if group[0].files():
                _fetch_files(reports[group[0]], output)
            else:
                _fetch_archive(group, output, keep_archives)
        except (DownloadError, ImageError, OSError) as error:
            _failed(f"{names}: {error}")
            failed += group
    with contextlib.suppress(OSError):  # something is kept there, or it was never made
        (output / ".downloads").rmdir()
    code = 0
    for source in sources:
        report = inspect(source) if source in wanted else reports[source]
        if source in failed:
            print(printable(report.summary()), flush=True)
            code = EXIT_FAILED
        else:
            code = max(code, _show(report, "see testsets/README.md"))
    return code


def _fetch_archive(sources: Sequence[Source], output: Path, keep: bool) -> None:
    """Fetch the archive that some sets share, and unpack it.

    Raises:
        DownloadError: it is not to be had, or no archive of them; then it is removed.
        ImageError: the place cannot be written.
    """
    archive = _place(output, sources[0].url)
    if not archive.exists():
        fetch(sources[0].url, archive)
    try:
        for source in sources:
            _unpack(archive, source, output / source.name)
    except DownloadError:
        archive.unlink()
        raise
    if not keep:
        archive.unlink()


def _fetch_files(report: Report, output: Path) -> None:
    """Fetch the single files of a set that are not there, or not as they should be.

    Raises:
        DownloadError: one is not to be had, or is no image. ImageError: the disk.
    """
    wrong = {*report.damaged, *report.different}
    for name, url in report.source.files().items():
        target = report.folder / name
        if name not in wrong and target.exists():
            continue
        place = _place(output, url)
        fetch(url, place)
        data = place.read_bytes()
        place.unlink()
        try:
            read_image_bytes(data, url)
        except ImageError as error:
            raise DownloadError(f"{error} (--url NAME=URL/)") from error
        write_atomically(target, data)


def _place(output: Path, url: str) -> Path:
    """Where a file is kept; the hash of the address keeps parts of two of them apart."""
    return output / ".downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{_bare(url)}"


if __name__ == "__main__":
    sys.exit(main())
