"""Fetch evaluation sets from their public places, and check them by the hash of their pixels."""

from __future__ import annotations

import argparse
import contextlib
import csv
import difflib
import gzip
import hashlib
import http.client
import io
import json
import re
import ssl
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, NoReturn
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

# Run as a script, only this file's folder would be searched.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.commands import as_started
from utils.image_io import (
    IMAGE_SUFFIXES,
    ImageError,
    find_images,
    read_image,
    write_atomically,
)
from utils.interrupts import heed_interrupts

HERE = Path(__file__).resolve().parent

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

EXAMPLES = """examples:
  python testsets/download.py LIVE1_color Classic5
  python testsets/download.py Urban100 --output ~/testsets
  python testsets/download.py ICB_color --url ICB_color=file:///path/to/rgb8bit.zip
  python testsets/download.py --verify
  python testsets/download.py --list

A download that broke off or was stopped goes on where it was when the same command is run again.
"""

ArchiveKind = Literal["zip", "tar.gz"]
MAGIC: Mapping[ArchiveKind, bytes] = {"zip": b"PK", "tar.gz": b"\x1f\x8b"}


@dataclass(frozen=True)
class Source:
    """Where a set comes from.

    Args:
        name: the set, and its folder. url, kind: the archive that holds it; sets with the same url
        share one download. members: glob for the images inside, matched from the right and
        whatever the case. count: images in the whole set.
    """

    name: str
    url: str
    kind: ArchiveKind
    members: str
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or urlsplit(self.url).scheme not in URL_SCHEMES:
            raise ValueError(f"{self.name}: count {self.count}, url {self.url}")


URL_SCHEMES = ("https", "http", "file")

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

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("LIVE1_color", FBCNN, "zip", "testsets/LIVE1_color/*", 29),
        Source("Classic5", FBCNN, "zip", "testsets/Classic5/*", 5),
        Source("BSDS500_color", BSDS500, "tar.gz", "BSDS500/data/images/test/*.jpg", 200),
        Source("Urban100", URBAN100, "tar.gz", "*.png", 100),
        Source("ICB_color", ICB, "zip", "*.ppm", 15),
    )
}


class DownloadError(Exception):
    """A set that cannot be had; the message is one line: what, why, what to do."""


class ArchiveError(DownloadError):
    """An archive that is of no use and must be fetched anew."""


# ---------------------------------------------------------------------------------------------
# Known images
# ---------------------------------------------------------------------------------------------

MANIFEST_FIELDS = ("dataset", "image", "width", "height", "channels", "sha256")


@dataclass(frozen=True)
class KnownImage:
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
    if image.ndim == 3 and (image == image[:, :, :1]).all():
        image = image[:, :, 0]
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    digest = hashlib.sha256(f"{width}x{height}x{channels}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return KnownImage(dataset, name, width, height, channels, digest.hexdigest())


def read_manifest(path: Path) -> list[KnownImage]:
    """Rows of a manifest file.

    Raises:
        DownloadError: missing, or not a manifest.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        if tuple(reader.fieldnames or ()) != MANIFEST_FIELDS:
            raise ValueError("other columns")
        return [
            KnownImage(
                row["dataset"],
                row["image"],
                int(row["width"]),
                int(row["height"]),
                int(row["channels"]),
                row["sha256"],
            )
            for row in rows
        ]
    except OSError as error:
        raise DownloadError(
            f"{path}: {error.strerror}; restore it, or write one with --write-manifest"
        ) from error
    except (csv.Error, TypeError, ValueError) as error:
        raise DownloadError(
            f"{path} is not a manifest ({','.join(MANIFEST_FIELDS)}); write one with "
            "--write-manifest"
        ) from error


def write_manifest(root: Path, path: Path) -> dict[str, int]:
    """Describe the sets below ``root`` in the manifest ``path``; returns images per set.

    A set is looked for in ``root/NAME``, then ``root/NAME_partial``. Rows of sets that are not
    there are kept.

    Raises:
        DownloadError: no set there. ImageError: an image that cannot be read.
    """
    rows: dict[str, list[KnownImage]] = {name: [] for name in SOURCES}
    if path.exists():
        rows |= _by_dataset(read_manifest(path))
    counts = {}
    for name in SOURCES:
        folders = [root / name, root / f"{name}_partial"]
        folder = next((f for f in folders if f.is_dir()), None)
        images = find_images(folder) if folder else []
        if images:
            rows[name] = [describe_pixels(name, p.stem, read_image(p)) for p in images]
            counts[name] = len(images)
    if not counts:
        raise DownloadError(f"no set in {root}; it needs folders such as {', '.join(SOURCES)}")
    text = io.StringIO()
    writer = csv.DictWriter(text, MANIFEST_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for group in rows.values() for row in group)
    write_atomically(path, text.getvalue())
    return counts


def _by_dataset(known: Sequence[KnownImage]) -> dict[str, list[KnownImage]]:
    """Rows per set, in their order."""
    groups: dict[str, list[KnownImage]] = {}
    for row in known:
        groups.setdefault(row.dataset, []).append(row)
    return groups


# ---------------------------------------------------------------------------------------------
# Sets on disk
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What a folder holds, against what the set should hold.

    Args:
        found: image files. verified: those whose pixels are known, each once. repeated: more files
        with the pixels of a verified one. unknown: readable, with neither pixels nor a name of the
        manifest. damaged: unreadable. different: named as a known image but with other pixels.
        missing: known images that are not there under any name. known: rows of the manifest.
    """

    source: Source
    folder: Path
    known: int
    found: int
    verified: tuple[str, ...]
    repeated: tuple[str, ...]
    unknown: tuple[str, ...]
    damaged: tuple[str, ...]
    different: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def incomplete(self) -> bool:
        """Whether fetching the set could mend it."""
        short = self.found < self.source.count
        return bool(short or self.damaged or self.different or self.missing)

    @property
    def strangers(self) -> tuple[str, ...]:
        """Files that do not belong to the set, as far as that can be told."""
        all_known = self.known >= self.source.count
        too_many = self.found > self.source.count
        return self.repeated + (self.unknown if all_known or too_many else ())

    def summary(self) -> str:
        """One line for a person."""
        parts = [
            f"{self.found} of {self.source.count} images found",
            f"{len(self.verified)} verified",
            f"{len(self.unknown)} unknown",
            f"{len(self.damaged) + len(self.different)} damaged or different",
        ]
        line = f"{self.source.name}: {', '.join(parts)} ({self.folder})"
        unhashed = self.source.count - self.known
        if unhashed > 0:
            line += f"; {unhashed} images carry no known hash, for them only the count is checked"
        return line

    def problems(self) -> list[str]:
        """What is wrong, with the names of the files; empty if the set can be used."""
        short = self.source.count - self.found
        groups = {
            "cannot be read": self.damaged,
            "other pixels than the known image": self.different,
            "missing": self.missing,
            "not of this set, to be removed": self.strangers,
        }
        texts = [f"{what}: {_some(names)}" for what, names in groups.items() if names]
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
    by_hash = {row.sha256: row.image for row in known}
    names = {row.image.casefold(): row.image for row in known}
    verified: dict[str, str] = {}
    repeated, unknown, damaged, different = [], [], [], []
    claimed: set[str | None] = set()
    images = find_images(folder)
    for path in tqdm(images, f"{source.name}: checking", unit=" images", leave=False, disable=None):
        shown = str(path.relative_to(folder))
        like = names.get(path.stem.casefold())
        try:
            digest = describe_pixels(source.name, path.stem, read_image(path)).sha256
        except ImageError:
            damaged.append(shown)
            claimed.add(like)
            continue
        match = by_hash.get(digest)
        if match is not None and match not in verified:
            verified[match] = shown
        elif match is not None:
            repeated.append(shown)
        elif like is not None:
            different.append(shown)
            claimed.add(like)
        else:
            unknown.append(shown)
    missing = [r.image for r in known if r.image not in verified and r.image not in claimed]
    return Report(
        source,
        folder,
        known=len(known),
        found=len(images),
        verified=tuple(verified.values()),
        repeated=tuple(repeated),
        unknown=tuple(unknown),
        damaged=tuple(damaged),
        different=tuple(different),
        missing=tuple(missing),
    )


# ---------------------------------------------------------------------------------------------
# Download
# ---------------------------------------------------------------------------------------------

ATTEMPTS = 5
"""Tries in a row that bring nothing before a download is given up."""

PAUSE_S = 1.0
"""Wait before the second try; doubled before each further one."""

TIMEOUT_S = 30.0
"""Longest silence of a server."""

CHUNK = 1 << 18
WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class _BrokenError(Exception):
    """A transfer that may work when it is tried again."""


@dataclass(frozen=True)
class _Stamp:
    """What a server said of the file of which a part is on disk."""

    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """Value for If-Range, which takes no weak tags (RFC 9110, 13.1.5)."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified

    @staticmethod
    def load(path: Path) -> _Stamp | None:
        """The stamp in a file, or None if there is none that can be trusted."""
        try:
            stamp = _Stamp(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return stamp if stamp.validator is not None or stamp.total is not None else None

    def contradicts(self, other: _Stamp) -> bool:
        """Whether both cannot describe the same file."""
        pairs = (
            (self.etag, other.etag),
            (self.modified, other.modified),
            (self.total, other.total),
        )
        return any(a is not None and b is not None and a != b for a, b in pairs)


def fetch(url: str, target: Path) -> None:
    """Download ``url`` to ``target``, going on from ``target.part`` where there is one.

    Raises:
        DownloadError: not to be had, or the connection was lost ``ATTEMPTS`` times in a row.
    """
    part = target.with_name(target.name + ".part")
    stamp_file = target.with_name(target.name + ".part.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        furthest = _size(part)
        failures = 0
        while True:
            try:
                _transfer(url, part, stamp_file)
                break
            except _BrokenError as error:
                if _size(part) > furthest:
                    furthest, failures = _size(part), 0
                failures += 1
                if failures >= ATTEMPTS:
                    raise DownloadError(
                        f"{url}: {error}, {ATTEMPTS} times in a row; check the network and run the "
                        "same command again to go on"
                    ) from error
                pause = PAUSE_S * 2 ** (failures - 1)
                print(f"note: {url}: {error}; next try in {pause:g} s", file=sys.stderr)
                time.sleep(pause)
        part.replace(target)
        stamp_file.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{target}: cannot be written ({error.strerror or error}); make room or choose another "
            "--output, and run the same command again to go on"
        ) from error


def _transfer(url: str, part: Path, stamp_file: Path) -> None:
    """Bring ``part`` to its full length with one request, or none if it has it.

    Raises:
        _BrokenError: worth another try. DownloadError: not. OSError: the disk.
    """
    have = _size(part)
    before = _Stamp.load(stamp_file) if have else None
    if before is None or (before.total is not None and have > before.total):
        have = 0
    elif have == before.total:
        return
    headers = {"User-Agent": "ijcn-testsets/1", "Accept-Encoding": "identity"}
    if before is not None and have:
        headers["Range"] = f"bytes={have}-"
        if before.validator is not None:
            headers["If-Range"] = before.validator
    with _open(urllib.request.Request(url, headers=headers), part) as response:
        status = response.status or 200  # None for file: addresses
        now = _stamp(response)
        if status == 206 and before is not None and have:
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if start is None or int(start[1]) != have or before.contradicts(now):
                part.unlink()
                raise _BrokenError("the file on the server has changed, starting over")
        elif status == 200:
            have = 0
            part.unlink(missing_ok=True)
            write_atomically(stamp_file, json.dumps(asdict(now)))
        else:
            raise DownloadError(f"{url} answered {status} instead of 200; name a mirror (--url)")
        with (
            part.open("ab") as file,
            tqdm(
                desc=PurePosixPath(urlsplit(url).path).name,
                initial=have,
                total=now.total,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while now.total is None or have < now.total:
                chunk = _receive(response)
                if not chunk:
                    break
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if now.total is not None and have != now.total:
        raise _BrokenError(f"connection lost after {have} of {now.total} bytes")


def _open(request: urllib.request.Request, part: Path) -> Any:
    """The server's answer, if it is one that brings data (urllib's types say no more than Any)."""
    url = request.full_url
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise _BrokenError("the server has no such remainder, starting over") from error
        if error.code in WORTH_ANOTHER_TRY:
            raise _BrokenError(f"answered {error.code} {error.reason}") from error
        raise DownloadError(
            f"{url} answered {error.code} {error.reason}; open it in a browser, or name a mirror "
            "or a downloaded file (--url NAME=URL)"
        ) from error
    except urllib.error.URLError as error:
        lasting = isinstance(error.reason, (str, ssl.SSLCertVerificationError))
        if lasting or request.type == "file":
            raise DownloadError(
                f"{url}: {error.reason}; check the address, or name another one (--url NAME=URL)"
            ) from error
        raise _BrokenError(f"no connection ({error.reason})") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url}: not an address ({error}); check --url") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(f"no answer ({error})") from error


def _receive(response: Any) -> bytes:
    """What has arrived, as soon as anything has; empty at the end."""
    try:
        return bytes(response.read1(CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(f"connection lost ({str(error) or type(error).__name__})") from error


def _stamp(response: Any) -> _Stamp:
    """What an answer says of the whole file."""
    headers = response.headers
    if response.status == 206:
        length = headers.get("Content-Range", "").rpartition("/")[2]
    else:
        length = headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    return _Stamp(headers.get("ETag"), headers.get("Last-Modified"), total)


def _size(path: Path) -> int:
    """Bytes in a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


# ---------------------------------------------------------------------------------------------
# Archives
# ---------------------------------------------------------------------------------------------

LARGEST_IMAGE = 256 << 20
"""Bytes; the largest image of the sets, in ICB, has 117 MB."""

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile: unknown compression
    RuntimeError,  # zipfile: encrypted
)


class _Member(NamedTuple):
    """A regular file in an archive; ``read`` must be called before the next member is asked for."""

    name: str
    size: int
    read: Callable[[], bytes]


def unpack(archive: Path, source: Source, folder: Path) -> int:
    """Write the images of a set, by their bare names, into ``folder``; returns how many.

    Only regular image files that match ``source.members`` are taken. Each is read whole and its
    checksum compared before it gets its name.

    Raises:
        ArchiveError: not an archive, or damaged. ImageError: the place cannot be written.
    """
    _check_archive(archive, source)
    done = 0
    with (
        contextlib.closing(_members(archive, source.kind)) as members,
        tqdm(
            desc=f"{source.name}: unpacking",
            total=source.count,
            unit=" images",
            leave=False,
            disable=None,
        ) as bar,
    ):
        while True:
            try:
                member = next(members, None)
                if member is None:
                    return done
                if not _wanted(member.name, source.members):
                    continue
                refusal = _refusal(member)
                data = member.read() if refusal is None else b""
            except ARCHIVE_ERRORS as error:
                raise _damaged(archive, error) from error
            if refusal is not None:
                print(f"note: {source.name}: {member.name!r} left out, {refusal}", file=sys.stderr)
                continue
            write_atomically(folder / PurePosixPath(member.name).name, data)
            done += 1
            bar.update()


def _check_archive(archive: Path, source: Source) -> None:
    """Refuse what is not an archive of the right kind, or a gzip file that is not whole.

    A gzip file has one checksum, at its end, so all of it is read before any of it is used; a zip
    file has one for each member.
    """
    with archive.open("rb") as file:
        head = file.read(40)
    if not head.startswith(MAGIC[source.kind]):
        raise ArchiveError(
            f"{source.name}: what came from {source.url} is no {source.kind} archive, it starts "
            f"with {head!r}; open the address in a browser, or name a mirror (--url)"
        )
    if source.kind == "tar.gz":
        try:
            with gzip.open(archive) as stream:
                while stream.read(CHUNK):
                    pass
        except ARCHIVE_ERRORS as error:
            raise _damaged(archive, error) from error


def _damaged(archive: Path, error: BaseException) -> ArchiveError:
    return ArchiveError(
        f"{archive.name} is damaged ({str(error) or type(error).__name__}); it is removed, run the "
        "same command again to fetch it anew"
    )


def _members(archive: Path, kind: ArchiveKind) -> Generator[_Member, None, None]:
    """The regular files of an archive: no folders, links or devices."""
    if kind == "zip":
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                unix_type = stat.S_IFMT(info.external_attr >> 16)  # 0 where written elsewhere
                if not info.is_dir() and unix_type in (0, stat.S_IFREG):
                    yield _Member(info.filename, info.file_size, partial(zipped.read, info))
    else:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield _Member(member.name, member.size, stream.read)


def _wanted(name: str, pattern: str) -> bool:
    path = PurePosixPath(name.lower())
    visible = not path.name.startswith(".")
    return visible and path.suffix in IMAGE_SUFFIXES and path.match(pattern.lower())


def _refusal(member: _Member) -> str | None:
    """Why a member is not to be trusted, or None."""
    name, size = member.name, member.size
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        return "its name leads out of the archive"
    if not name.isprintable():
        return "its name cannot be shown"
    if size > LARGEST_IMAGE:
        return f"{size} bytes are more than any image of the sets has"
    return None


# ---------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message}; see --help\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog=as_started("python testsets/download.py"),
        description=__doc__,
        epilog=as_started(EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"sets: {', '.join(SOURCES)}")
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
        metavar="NAME=URL",
        help="take a set from another place, with the same kind of archive; http, https or file",
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


def main(arguments: Sequence[str] | None = None) -> int:
    heed_interrupts()
    parser = _parser()
    args = parser.parse_args(arguments)
    names = list(dict.fromkeys(args.names))
    for name in names:
        if name not in SOURCES:
            parser.error(_unknown(name))
    if names and (args.list or args.write_manifest is not None):
        parser.error(f"{' '.join(names)}: --list and --write-manifest take no set names")
    sources = _with_urls(parser, args.url, names)
    output = args.output.expanduser()
    try:
        if args.list:
            return _list(output, read_manifest(args.manifest))
        if args.write_manifest is not None:
            for name, count in write_manifest(args.write_manifest, args.manifest).items():
                print(f"{name}: {count} of {SOURCES[name].count} images written to {args.manifest}")
            return 0
        if not names and not args.verify:
            parser.error(f"name the sets to fetch, of {', '.join(SOURCES)}")
        known = _by_dataset(read_manifest(args.manifest))
        if args.verify:
            return _verify(names, output, known)
        return _fetch_sets(sources, output, known, args.keep_archives)
    except (DownloadError, ImageError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return EXIT_FAILED


def _unknown(name: str) -> str:
    """What to say of a name that is no set."""
    folded = {known.casefold(): known for known in SOURCES}
    near = difflib.get_close_matches(name.casefold(), folded, n=2, cutoff=0.4)
    if near:
        return f"no set {name!r}, the nearest is {' or '.join(folded[n] for n in near)}"
    return f"no set {name!r}; there are {', '.join(SOURCES)}"


def _with_urls(parser: _Parser, urls: Sequence[str], names: Sequence[str]) -> list[Source]:
    """The sources of the sets ``names``, with the addresses given by ``--url``."""
    sources = {name: SOURCES[name] for name in names}
    for text in urls:
        name, _, url = text.partition("=")
        if urlsplit(url).scheme not in URL_SCHEMES:
            parser.error(f"--url {text!r}: expected NAME=URL, URL being {', '.join(URL_SCHEMES)}")
        if name not in SOURCES:
            parser.error(f"--url: {_unknown(name)}")
        if name not in sources:
            parser.error(f"--url {text}: {name} is not among the sets to fetch")
        sources[name] = replace(sources[name], url=url)
    return list(sources.values())


def _list(output: Path, known: Sequence[KnownImage]) -> int:
    rows = _by_dataset(known)
    print(f"{'set':<15}{'images':>7}{'hashes':>8}{'here':>6}  source")
    for source in SOURCES.values():
        here = len(find_images(output / source.name))
        hashes = len(rows.get(source.name, ()))
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
        if name not in there:
            code = _failed(
                f"{output / name} is not a folder; fetch it (python testsets/download.py {name})"
            )
            continue
        report = inspect_set(SOURCES[name], output / name, known.get(name, []))
        remedy = f"fetch it again (python testsets/download.py {name})"
        code = max(code, _show(report, remedy if report.incomplete else None))
    return code


def _show(report: Report, remedy: str | None) -> int:
    """Print a report, and what is wrong; returns the exit code."""
    print(report.summary(), flush=True)
    problems = report.problems()
    if not problems:
        return 0
    return _failed(f"{report.source.name}: {'; '.join([*problems, *([remedy] if remedy else [])])}")


def _fetch_sets(
    sources: Sequence[Source],
    output: Path,
    known: Mapping[str, list[KnownImage]],
    keep_archives: bool,
) -> int:
    """Fetch the sets that are not complete on disk; one that fails does not stop the others."""

    def inspect(source: Source) -> Report:
        return inspect_set(source, output / source.name, known.get(source.name, []))

    reports = {source.name: inspect(source) for source in sources}
    needed: dict[str, list[Source]] = {}
    for source in sources:
        if reports[source.name].incomplete:
            needed.setdefault(source.url, []).append(source)
    unpacked: set[str] = set()
    for url, group in needed.items():
        names = ", ".join(source.name for source in group)
        archive = output / ".downloads" / _archive_name(group[0])
        try:
            if not archive.exists():
                print(f"{names}: fetching {url}", flush=True)
                fetch(url, archive)
            for source in group:
                if unpack(archive, source, output / source.name):
                    unpacked.add(source.name)
                    reports[source.name] = inspect(source)
                else:
                    _failed(
                        f"{source.name}: no image like {source.members} in what came from {url}; "
                        "name another place (--url)"
                    )
        except ArchiveError as error:
            archive.unlink()
            _failed(str(error))
        except (DownloadError, ImageError) as error:
            _failed(f"{names}: {error}")
        else:
            if not keep_archives:
                archive.unlink()
        with contextlib.suppress(OSError):  # something is kept there, or it was never made
            archive.parent.rmdir()
    code = 0
    for name, report in reports.items():
        if report.incomplete and name not in unpacked:
            print(report.summary(), flush=True)
            code = EXIT_FAILED
        else:
            code = max(code, _show(report, "see testsets/README.md" if report.incomplete else None))
    return code


def _archive_name(source: Source) -> str:
    """Local name of an archive; the hash of the address keeps parts of two archives apart."""
    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(urlsplit(source.url).path).name.split(".")[0])
    return f"{stem}-{hashlib.sha256(source.url.encode()).hexdigest()[:8]}.{source.kind}"


if __name__ == "__main__":
    sys.exit(main())
