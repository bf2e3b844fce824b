"""The fetcher of evaluation sets against a local server that misbehaves in the usual ways."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import signal
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import PATIENCE, ROOT, started
from testsets import download

KNOWN_SETS = Path(os.environ.get("IJCN_TESTSETS", "nowhere"))
"""A folder of all sets of the manifest, where the checks are run with one."""

Pixels = NDArray[np.uint8]

# --- made-up sets -----------------------------------------------------------------------------


def picture(seed: int, gray: bool = False, side: int = 16) -> Pixels:
    """Noise: RGB (side, side + 2, 3), or gray (side, side + 2)."""
    shape = (side, side + 2) if gray else (side, side + 2, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels: Pixels, suffix: str = ".png") -> bytes:
    """An image file; WebP without loss."""
    bgr = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, ::-1])
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    done, data = cv2.imencode(suffix, bgr, options)
    assert done
    return data.tobytes()


def made_up_set(name: str, suffix: str = ".png") -> dict[str, bytes]:
    """As many images as the real set has: file name -> content."""
    first = 1000 * list(download.SOURCES).index(name)
    source = download.SOURCES[name]
    names = list(source.files()) or [f"pic{i:03}{suffix}" for i in range(source.count)]
    return {
        file: encoded(picture(first + i, gray=name == "Classic5"), suffix)
        for i, file in enumerate(names)
    }


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_gz_of(members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def repository_zip(suffix: str = ".bmp") -> bytes:
    """An archive of a repository with both of its sets, and more that must not be taken."""
    top = "FBCNN-abc123/testsets"
    members = {f"{top}/LIVE1_color/{n}": d for n, d in made_up_set("LIVE1_color", suffix).items()}
    members |= {f"{top}/Classic5/{n}": d for n, d in made_up_set("Classic5", suffix).items()}
    members |= {
        f"{top}/LIVE1_gray/pic000.bmp": encoded(picture(5, gray=True)),
        f"{top}/LIVE1_color/notes.txt": b"text",
        f"{top}/LIVE1_color/.hidden.png": b"not an image",
        f"{top}/LIVE1_color/deeper/other.png": encoded(picture(6)),
    }
    return zip_of(members)


# --- a server ---------------------------------------------------------------------------------


@dataclass
class Served:
    """A file of the server, and how it behaves.

    Args:
        stops: bytes to send of the body, one entry for each request until it is empty, before the
        connection is closed. statuses: answers to the first requests, 200 for what follows from the
        rest. ranges: whether Range is understood. chunked: send chunks, without a length. length:
        what is said to come, by default the truth.
    """

    data: bytes
    stops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    chunked: bool = False
    length: str | None = None


class Server(ThreadingHTTPServer):
    """Files by path, and (path, Range header) of the requests that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []

    def add(self, path: str, served: Served) -> str:
        self.files[path] = served
        return self.address + path

    def ranges(self) -> list[str | None]:
        return [wanted for _, wanted in self.asked]


class Handler(BaseHTTPRequestHandler):
    """Closes the connection after each answer, whole or not."""

    protocol_version = "HTTP/1.1"  # 1.0 has no chunks
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at Server.asked."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        served = self.server.files.get(self.path)
        if served is None:
            self.send_error(404)
            return
        status = served.statuses.pop(0) if served.statuses else 200
        if status != 200:
            self.send_error(status)
            return
        start = 0
        if wanted and served.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = served.data[start:]
        self.send_response(206 if start else 200)
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            size = 1000
            pieces = [body[i : i + size] for i in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in [*pieces, b""])
        else:
            self.send_header("Content-Length", served.length or str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: served.stops.pop(0)] if served.stops else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries, and no proxy between the test and its server."""
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@dataclass
class Tool:
    """The command line, called in this process, with a manifest of made-up sets."""

    output: Path
    manifest: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def __call__(self, *more: str) -> int:
        folders = ("--output", str(self.output), "--manifest", str(self.manifest))
        try:
            code = download.main([*more, *folders])
        except SystemExit as stop:
            code = int(stop.code or 0)
        self.out, self.err = self.capture.readouterr()
        return code

    def fetch(self, name: str, url: str, *more: str) -> int:
        """Fetch one set from ``url``."""
        return self(name, "--url", f"{name}={url}", *more)

    def names(self, dataset: str) -> list[str]:
        return sorted(p.name for p in (self.output / dataset).iterdir())


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of made-up LIVE1_color, Classic5, and two images of ICB_color."""
    root = tmp_path_factory.mktemp("known")
    put(root / "LIVE1_color", made_up_set("LIVE1_color"))
    put(root / "Classic5", made_up_set("Classic5"))
    put(root / "ICB_color_partial", dict(list(made_up_set("ICB_color").items())[:2]))
    counts = download.write_manifest(root, root / "manifest.csv")
    assert counts == {"LIVE1_color": 29, "Classic5": 5, "ICB_color": 2}
    return root / "manifest.csv"


@pytest.fixture
def tool(tmp_path: Path, known: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(tmp_path / "sets", known, capsys)


def one_line(text: str, start: str = "error: ") -> str:
    """The only line of ``text``."""
    assert text.startswith(start)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text


# --- fetching ---------------------------------------------------------------------------------


def test_two_sets_from_one_zip_are_verified_whatever_their_format(
    tool: Tool, server: Server
) -> None:
    url = server.add("/HEAD.zip", Served(repository_zip(".bmp")))
    urls = ("--url", f"LIVE1_color={url}", "--url", f"Classic5={url}")
    assert tool("LIVE1_color", "Classic5", *urls) == 0
    assert tool.err == ""
    assert "LIVE1_color: 29 of 29 images found, 29 verified, 0 unknown, 0 damaged" in tool.out
    assert "Classic5: 5 of 5 images found, 5 verified" in tool.out
    assert tool.names("LIVE1_color") == [f"pic{i:03}.bmp" for i in range(29)]
    assert len(server.asked) == 1
    assert sorted(p.name for p in tool.output.iterdir()) == ["Classic5", "LIVE1_color"]

    assert tool("LIVE1_color", "Classic5", *urls) == 0
    assert len(server.asked) == 1


def test_tar_gz_without_known_hashes_is_counted_only(tool: Tool, server: Server) -> None:
    members = {f"Urban100_HR/{n}": d for n, d in made_up_set("Urban100").items()}
    url = server.add("/data/Urban100_HR.tar.gz?download=true", Served(tar_gz_of(members)))
    assert tool.fetch("Urban100", url, "--keep-archives") == 0
    assert "100 of 100 images found, 0 verified, 100 unknown" in tool.out
    assert "100 images carry no known hash" in tool.out
    (kept,) = (tool.output / ".downloads").iterdir()
    assert re.fullmatch(r"[0-9a-f]{8}-Urban100_HR\.tar\.gz", kept.name)

    (tool.output / "Urban100" / "pic007.png").unlink()
    assert tool.fetch("Urban100", url) == 0
    assert len(server.asked) == 1, "the kept archive serves"


def test_files_on_disk_serve(tool: Tool, tmp_path: Path) -> None:
    archive = tmp_path / "browser's download.zip"
    archive.write_bytes(repository_zip())
    assert tool.fetch("Classic5", archive.as_uri()) == 0
    assert "5 verified" in tool.out
    assert archive.exists()
    assert tool.fetch("LIVE1_color", f"{archive.as_uri()}.gone") == 1
    assert "No such file" in one_line(tool.err)
    put(tmp_path / "disc", made_up_set("Kodak24"))
    assert tool.fetch("Kodak24", f"{(tmp_path / 'disc').as_uri()}/") == 0
    assert "24 of 24 images found" in tool.out


def test_single_files_are_fetched_as_far_as_they_are_wrong(tool: Tool, server: Server) -> None:
    files = made_up_set("Kodak24")
    for name, data in files.items():
        server.add(f"/kodak/{name}", Served(data))
    server.files["/kodak/kodim02.png"].stops = [300]
    put(tool.output / "Kodak24", {"kodim01.png": files["kodim01.png"], "kodim03.png": b"torn"})
    url = f"{server.address}/kodak/"
    assert tool.fetch("Kodak24", url) == 0
    assert "24 of 24 images found, 0 verified, 24 unknown" in tool.out
    assert [path for path, _ in server.asked].count("/kodak/kodim02.png") == 2
    assert ("/kodak/kodim02.png", "bytes=300-") in server.asked
    assert "/kodak/kodim01.png" not in [path for path, _ in server.asked]
    assert {n: (tool.output / "Kodak24" / n).read_bytes() for n in tool.names("Kodak24")} == files
    assert not (tool.output / ".downloads").exists()

    for name in ("kodim01.png", "kodim24.png"):
        (tool.output / "Kodak24" / name).unlink()
    server.files["/kodak/kodim24.png"] = Served(b"<!DOCTYPE html>")
    assert tool.fetch("Kodak24", url) == 1
    assert "kodim24.png: not an image" in one_line(tool.err)
    assert len(tool.names("Kodak24")) == 23
    assert "23 of 24 images found" in tool.out, "counted after the failure"
    assert not (tool.output / ".downloads").exists(), "the page was not kept"


@pytest.mark.parametrize(
    ("behaviour", "ranges"),
    [
        ({"stops": [20_000, 5_000]}, [None, "bytes=20000-", "bytes=25000-"]),
        ({"stops": [9_000, 4_000], "ranges": False}, [None, "bytes=9000-", "bytes=4000-"]),
        ({"stops": [10_000], "chunked": True}, [None, "bytes=9932-"]),  # less the chunks' sizes
        ({"stops": [9_000], "statuses": [200, 416]}, [None, "bytes=9000-", None]),
        ({"statuses": [503, 429]}, [None, None, None]),
        ({"length": "unknown"}, [None]),
        ({"length": "-5"}, [None]),
    ],
)
def test_after_a_break_only_the_rest_is_asked_for(
    behaviour: dict[str, Any], ranges: list[str | None], tool: Tool, server: Server
) -> None:
    url = server.add("/a.zip", Served(repository_zip(), **behaviour))
    assert tool.fetch("Classic5", url) == 0
    assert "5 verified" in tool.out
    assert server.ranges() == ranges
    assert tool.err.count("note: ") == tool.err.count("\n") == len(ranges) - 1


def test_file_that_changed_meanwhile_is_found_out(
    tool: Tool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = zip_of({"testsets/Classic5/old.png": encoded(picture(1, side=200))})
    url = server.add("/a.zip", Served(before, stops=[5_000]))
    with monkeypatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        assert tool.fetch("Classic5", url) == 1
    server.files["/a.zip"] = Served(tar_gz_of({"testsets/Classic5/new.png": bytes(9_000)}))
    server.files["/a.zip"].data += bytes(5_000)
    assert tool.fetch("Classic5", url) == 1
    assert "is removed; run the same command again" in one_line(tool.err)
    assert not (tool.output / ".downloads").exists()


def test_gives_up_when_nothing_comes(tool: Tool, server: Server) -> None:
    url = server.add("/a.zip", Served(repository_zip(), stops=[0] * 99))
    assert tool.fetch("Classic5", url) == 1
    assert len(server.asked) == download.ATTEMPTS
    *notes, error = tool.err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    assert error.startswith(f"error: Classic5: {url}: connection lost after 0 of")
    assert error.endswith("run the same command again to go on")
    assert "Classic5: 0 of 5 images found" in tool.out


def test_a_server_that_promises_more_than_it_has_is_given_up(tool: Tool, server: Server) -> None:
    data = repository_zip()
    more = str(len(data) + 1000)
    url = server.add("/a.zip", Served(data, statuses=[200, 416] * 99, length=more))
    assert tool.fetch("Classic5", url) == 1
    assert len(server.asked) <= 2 * download.ATTEMPTS
    assert "times in a row" in tool.err.splitlines()[-1]


def test_a_full_disk_is_not_tried_again(
    tool: Tool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("/a.zip", Served(repository_zip()))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, "_transfer", full)
        assert tool.fetch("Classic5", url) == 1
    assert "cannot be written (No space left on device); make room" in one_line(tool.err)
    tool.output = tool.output.with_name("a file")
    tool.output.touch()
    assert tool.fetch("Classic5", url) == 1
    assert "is a file, not a folder; choose another --output" in one_line(tool.err)
    assert not server.asked


def test_one_failure_does_not_stop_the_other_sets(tool: Tool, server: Server) -> None:
    url = server.add("/a.zip", Served(repository_zip()))
    gone = server.address + "/gone.zip"
    urls = ("--url", f"LIVE1_color={gone}", "--url", f"Classic5={url}")
    assert tool("LIVE1_color", "Classic5", *urls) == 1
    assert "LIVE1_color" in one_line(tool.err)
    assert "Classic5: 5 of 5 images found, 5 verified" in tool.out
    assert server.asked[0][0] == "/gone.zip"
    assert len(server.asked) == 2, "404 is not asked again"
    assert not (tool.output / ".downloads").exists()


# --- archives that cannot be trusted ----------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "it starts with b'<!DOCTYPE html>"),
        (zip_of({"notes.txt": b"text", "a.png": bytes(9)}), "no image like testsets/Classic5/*"),
    ],
)
def test_what_is_no_archive_of_the_set(data: bytes, words: str, tool: Tool, server: Server) -> None:
    url = server.add("/a.zip", Served(data))
    assert tool.fetch("Classic5", url) == 1
    assert words in one_line(tool.err)
    server.files["/a.zip"] = Served(repository_zip())
    assert tool.fetch("Classic5", url) == 0, "it was not kept"


@pytest.mark.parametrize("harm", ["flipped", "cut"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_damaged_archive_gives_no_damaged_image(
    tool: Tool, server: Server, kind: str, harm: str
) -> None:
    name, suffix, pack = {
        "zip": ("ICB_color", ".ppm", zip_of),
        "tar.gz": ("Urban100", ".png", tar_gz_of),
    }[kind]
    files = made_up_set(name, suffix)
    data = bytearray(pack(files))
    middle = len(data) // 2
    if harm == "flipped":
        data[middle] ^= 0x55
    else:
        del data[middle:]
    url = server.add("/archive", Served(bytes(data)))
    assert tool.fetch(name, url) == 1
    assert "is damaged" in one_line(tool.err)
    written = download.find_images(tool.output / name)
    assert all(path.read_bytes() == files[path.name] for path in written)
    assert kind == "zip" or not written, "a gzip file can be trusted as a whole only"
    assert not (tool.output / ".downloads").exists(), "nothing is left to be trusted later"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_damaged_anywhere_is_removed(tool: Tool, server: Server, compression: int) -> None:
    data = zip_of(made_up_set("ICB_color", ".ppm"), compression)
    for place in np.linspace(30, len(data) - 30, 25).astype(int):
        damaged = bytearray(data)
        damaged[place : place + 8] = b"\xff" * 8
        url = server.add("/a.zip", Served(bytes(damaged)))
        shutil.rmtree(tool.output, ignore_errors=True)
        server.asked.clear()
        if tool.fetch("ICB_color", url):
            # A name or a date may be damaged and the pictures whole, or one of them lost.
            assert tool.err.startswith("error: ICB_color: ")
            assert tool.err.count("\n") == 1
        assert len(server.asked) == 1
        assert not (tool.output / ".downloads").exists()


def test_members_that_lead_out_stay_inside(tool: Tool, server: Server, tmp_path: Path) -> None:
    good = encoded(picture(1))
    names = ("../../outside/a.png", "/outside/b.png", "c\\..\\c.png", "d:d.png", "in/e.png")
    links = {"Urban100_HR/link.png": "/etc/hostname"}
    url = server.add("/u.tgz", Served(tar_gz_of(dict.fromkeys(names, good), links)))
    assert tool.fetch("Urban100", url) == 1
    assert "95 of 100 images are not there" in one_line(tool.err)
    inside = {tool.output / "Urban100" / f"{letter}.png" for letter in "abcde"}
    assert set(tmp_path.rglob("*.png")) == inside
    assert all(path.read_bytes() == good for path in inside)


def test_a_link_in_a_zip_is_not_followed(tool: Tool, server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("rgb8bit/link.ppm")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/hostname")
        archive.writestr("../evil.ppm", encoded(picture(1), ".ppm"))
    url = server.add("/a.zip", Served(buffer.getvalue()))
    assert tool.fetch("ICB_color", url) == 1
    assert "cannot be read: link.ppm" in one_line(tool.err)
    folder = tool.output / "ICB_color"
    assert not (folder / "link.ppm").is_symlink()
    assert set(tmp_path.rglob("*.ppm")) == {folder / "link.ppm", folder / "evil.ppm"}


# --- sets on disk -----------------------------------------------------------------------------


def test_every_kind_of_fault_is_told_and_mended(
    tool: Tool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tool.output / "LIVE1_color"
    files = made_up_set("LIVE1_color")
    put(folder, files)
    with monkeypatch.context() as patch:
        patch.setattr(download.urllib.request, "urlopen", None)
        assert tool("--verify") == 0
    assert "29 verified" in tool.out

    (folder / "pic000.png").rename(folder / "Another Name.png")
    one_level_off = picture(1)
    one_level_off[0, 0, 0] ^= 1
    (folder / "pic001.png").write_bytes(encoded(one_level_off))
    (folder / "pic002.png").write_bytes(b"torn")
    (folder / "pic003.png").unlink()
    put(folder, {"stranger.png": encoded(picture(78)), "again.bmp": files["pic004.png"]})
    assert tool("--verify", "LIVE1_color") == 1
    assert "30 of 29 images found, 26 verified, 1 unknown, 2 damaged or different" in tool.out
    error = one_line(tool.err)
    for text in (
        "cannot be read: pic002.png;",
        "other pixels than the known image: pic001.png;",
        "missing: pic003;",
        "to be removed: pic004.png, stranger.png;",  # pic004.png sorts after again.bmp
        "python testsets/download.py LIVE1_color",
    ):
        assert text in error

    for name in ("stranger.png", "again.bmp", "Another Name.png"):
        (folder / name).unlink()
    url = server.add("/a.zip", Served(repository_zip(".png")))
    assert tool.fetch("LIVE1_color", url) == 0
    assert "29 verified" in tool.out


def test_source_with_other_pixels_is_an_error(tool: Tool, server: Server) -> None:
    files = {f"testsets/Classic5/pic{i:03}.png": encoded(picture(i)) for i in range(5)}
    url = server.add("/a.zip", Served(zip_of(files)))
    assert tool.fetch("Classic5", url) == 1
    assert "0 verified, 0 unknown, 5 damaged or different" in tool.out
    assert "other pixels than the known image: pic000.png, pic001.png" in one_line(tool.err)


def test_verify_of_a_set_that_is_not_there(tool: Tool) -> None:
    assert tool("--verify") == 1
    assert "no set in" in one_line(tool.err)
    assert tool("--verify", "Urban100") == 1
    assert "Urban100" in one_line(tool.err)


def test_list_names_every_set(tool: Tool) -> None:
    put(tool.output / "Classic5", dict(list(made_up_set("Classic5").items())[:3]))
    assert tool("--list") == 0
    rows = {line.split()[0]: line.split()[1:4] for line in tool.out.splitlines()[1:]}
    assert rows["Classic5"] == ["5", "5", "3"]
    assert rows["Urban100"] == ["100", "0", "0"]
    assert set(rows) == set(download.SOURCES)
    script = started(ROOT / "testsets" / "download.py", "--list", cwd=tool.output)
    assert "Kodak24" in script.communicate(timeout=PATIENCE)[0]
    assert script.returncode == 0


# --- hashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gray", [False, True])
def test_hash_depends_on_size_and_pixels_only(tmp_path: Path, gray: bool) -> None:
    pixels = picture(3, gray)
    channels = 1 if gray else 3
    expected = hashlib.sha256(f"18x16x{channels}\n".encode() + pixels.tobytes()).hexdigest()
    put(tmp_path, {f"a{s}": encoded(pixels, s) for s in (".png", ".bmp", ".tiff", ".webp")})
    put(tmp_path, {"b.ppm": b"P6\n18 16\n255\n" + np.dstack([pixels] * (4 - channels)).tobytes()})
    rows = [
        download.describe_pixels("Set", "image", download.read_image(path))
        for path in download.find_images(tmp_path)
    ]
    assert rows == [download.KnownImage("Set", "image", 18, 16, channels, expected)] * 5


def test_writing_a_manifest_keeps_the_rows_of_absent_sets(
    tool: Tool, tmp_path: Path, known: Path
) -> None:
    tool.manifest = tmp_path / "manifest.csv"
    tool.manifest.write_bytes(known.read_bytes())
    put(tmp_path / "new" / "Classic5", {"only.png": encoded(picture(9, gray=True))})
    assert tool("--write-manifest", str(tmp_path / "new")) == 0
    assert "Classic5: 1 of 5 images" in tool.out
    rows = download.read_manifest(tool.manifest)
    assert [row.image for row in rows.pop("Classic5")] == ["only"]
    before = download.read_manifest(known)
    del before["Classic5"]
    assert rows == before
    assert tool("--write-manifest", str(tmp_path)) == 1
    assert "no set in" in one_line(tool.err)


@pytest.mark.parametrize("text", ["dataset,image\nLIVE1_color,bikes\n", "", "\0", None])
def test_manifest_that_is_none(tool: Tool, tmp_path: Path, text: str | None) -> None:
    tool.manifest = tmp_path / "manifest.csv"
    if text is not None:
        tool.manifest.write_text(text)
    put(tool.output / "Classic5", made_up_set("Classic5"))
    assert tool("--verify") == 1
    assert "is not a manifest" in one_line(tool.err)


def test_committed_manifest_has_the_sets_at_hand() -> None:
    known = download.read_manifest(ROOT / "testsets" / "manifest.csv")
    counts = {name: len(rows) for name, rows in known.items()}
    assert counts == {"LIVE1_color": 29, "Classic5": 5, "BSDS500_color": 200, "ICB_color": 2}
    hashes = [row.sha256 for rows in known.values() for row in rows]
    assert len(set(hashes)) == len(hashes) == 236
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in hashes)


@pytest.mark.skipif(
    not (KNOWN_SETS / "ICB_color_partial").is_dir(),
    reason="$IJCN_TESTSETS is not a folder of all sets of the manifest",
)
def test_committed_manifest_is_what_the_images_give(tmp_path: Path) -> None:
    download.write_manifest(KNOWN_SETS, tmp_path / "manifest.csv")
    committed = (ROOT / "testsets" / "manifest.csv").read_bytes()
    assert (tmp_path / "manifest.csv").read_bytes() == committed


# --- command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "name the sets to fetch"),
        (["live1-color"], "there are LIVE1_color, Classic5"),
        (["Classic5", "--url", "Classic5"], "not NAME=URL"),
        (["Classic5", "--url", "http://host/a.zip"], "not NAME=URL"),
        (["Classic5", "--url", "Classic5=ftp://host/a.zip"], "https, http or file"),
        (["Classic5", "--url", "Clasic5=http://host/a.zip"], "no set 'Clasic5'"),
        (["Classic5", "--url", "Classic5=http://[::1/a.zip"], "not NAME=URL"),
        (["Classic5", "--url", "Classic5=http://host/folder/"], "is taken from an archive"),
        (["Classic5", "--url", "Urban100=http://host/a.zip"], "among the sets to fetch"),
        (["--verify", "--list"], "not allowed with"),
        (["Classic5", "--list"], "take no set names"),
    ],
)
def test_usage_errors(tool: Tool, arguments: list[str], expected: str) -> None:
    assert tool(*arguments) == 2
    assert expected in tool.err.splitlines()[-1]
    assert tool.out == ""


def test_interrupted_download_can_be_resumed(
    tool: Tool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = repository_zip()
    url = server.add("/a.zip", Served(data))
    pieces: list[bytes] = []
    read1 = HTTPResponse.read1

    def read1_interrupted(response: HTTPResponse, most: int) -> bytes:
        if len(pieces) == 2:
            signal.raise_signal(signal.SIGINT)
        pieces.append(read1(response, 5_000))
        return pieces[-1]

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as job runners start processes
    try:
        with monkeypatch.context() as patch:
            patch.setattr(HTTPResponse, "read1", read1_interrupted)
            assert tool.fetch("Classic5", url) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    one_line(tool.err, "stopped; ")
    (part,) = (tool.output / ".downloads").glob("*.part")
    size = part.stat().st_size
    assert part.read_bytes() == b"".join(pieces) == data[:size]
    assert tool.fetch("Classic5", url) == 0
    assert server.ranges() == [None, f"bytes={size}-"]
