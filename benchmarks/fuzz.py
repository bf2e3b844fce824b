"""Damage JPEG files at random and see that restoring never does more than report it.

Each file is read, checked and decoded as test_real_IJCN.py does it; the network itself is left out,
as it sees arrays only. A crash ends the command with the culprit saved. The end tells whether
descriptors or memory were lost, and how many files libjpeg gave up at, which loses memory.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from data.jpeg import JpegImage, Sampling, encode_jpeg
from jobs.dry_run import Looker
from jobs.restore_files import FileJob, OutputSettings, restore_file
from utils.arguments import Parser, between
from utils.image_io import find_images
from utils.metadata import Density, Metadata, jpeg, png
from utils.picture_files import Format
from utils.scripts import run_script

EXAMPLES = """examples:
  python benchmarks/fuzz.py --files 20000
  python benchmarks/fuzz.py --seeds my/jpegs --minutes 30
"""


class LayoutOnly(Looker):
    """Without a network: brings JPEGs of any quality to the network's form, and no further."""

    def __init__(self) -> None:
        self.strength = 1.0

    def leaves(self, stored: JpegImage) -> bool:
        return False

    def restore_source(
        self, stored: JpegImage, offset: tuple[int, int], pixels: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """As :meth:`restore`, of the pixels' size."""
        return self.restore(stored)[: pixels.shape[0], : pixels.shape[1]]


WARM_UP = 500
"""Files after which caches are full, so that what memory grows from then on is lost."""

GAVE_UP = "libjpeg cannot read it"
"""In the message of a file whose damage data.jpeg did not foresee."""


class ProcessState(NamedTuple):
    """Open descriptors and resident memory (bytes) of this process."""

    descriptors: int
    resident: int


def process_state() -> ProcessState | None:
    """What this process holds now; None without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return ProcessState(len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return None


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """``data`` with one to eight places changed, cut out, repeated or filled with noise."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(2, max(3, len(result))))
        length = int(rng.integers(1, 40))
        kind = rng.integers(5)
        if kind == 0:
            result[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            del result[at : at + length]
        elif kind == 2:
            result[at:at] = rng.bytes(length)
        elif kind == 3:
            result[at:at] = result[at : at + length]
        else:
            del result[at + length * 20 :]
    return bytes(result)


def built_in_seeds() -> list[bytes]:
    """Small files of each sampling, gray and CMYK; progressive and with restart markers."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(128, 40, (40, 56, 3)).cumsum(1) / 20 + 100, 0, 255).astype(np.uint8)
    files = [*(encode_jpeg(image, 60, s) for s in Sampling), encode_jpeg(image[:, :, 0], 60)]
    inks = io.BytesIO()
    Image.fromarray(image).convert("CMYK").save(inks, "JPEG", quality=60)
    files.append(inks.getvalue())
    for option in (cv2.IMWRITE_JPEG_PROGRESSIVE, cv2.IMWRITE_JPEG_RST_INTERVAL):
        files.append(cv2.imencode(".jpg", image, [option, 1])[1].tobytes())
    return files


def metadata_seeds() -> list[bytes]:
    """Small JPEG, PNG and WebP files full of metadata, an MPO, and a film behind a picture."""
    image = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8)[:, None] * 5, (1, 32)))
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "Maker"
    tags.get_ifd(0x8769).update({0x927C: b"a note", 0xA002: 32, 0xA003: 48})
    tags.get_ifd(0x8825).update({1: "N", 2: (7.0, 8.0, 9.0)})
    exif = tags.tobytes().removeprefix(b"Exif\0\0")
    description = (
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    )
    rdf = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%b</rdf:RDF>'
    metadata = Metadata(
        exif=exif,
        xmp=rdf % description,
        extended_xmp=(b"0" * 32, rdf % description),
        photoshop=b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\3abc",
        comments=("für mich".encode(),),
        icc_profile=bytes(16) + b"GRAY" + bytes(200),
        density=Density(300, 300, "inch"),
        segments=((0xEC, b"Ducky\0\1"),),
    )
    pictures = {name: io.BytesIO() for name in ("JPEG", "PNG", "WEBP", "MPO")}
    for name, buffer in pictures.items():
        more = {"save_all": True, "append_images": [image]} if name == "MPO" else {}
        more |= {"exif": exif, "xmp": metadata.xmp} if name == "WEBP" else {}
        image.save(buffer, name, **more)
    plain = pictures["JPEG"].getvalue()
    film = b"\0\0\0\x10ftypmp42\0\0\0\0\0\0\0\x20mdat" + bytes(range(24)) + b"SEFH....SEFT"
    return [
        jpeg.embed(plain, metadata)[0],
        png.embed(pictures["PNG"].getvalue(), metadata)[0],
        pictures["WEBP"].getvalue(),
        pictures["MPO"].getvalue(),
        plain + film,
    ]


def outcomes(
    seeds: list[bytes],
    count: int,
    folder: Path,
    seed: int = 0,
    formats: Sequence[Format] = ("png",),
) -> Iterator[tuple[str, str, float]]:
    """Status, message and seconds of each of ``count`` damaged files, made in ``folder``.

    Results are of all ``formats``, in turn.

    Raises:
        RuntimeError: a source was changed.
    """
    rng = np.random.default_rng(seed)
    source, restorer = folder / "mutated.jpg", LayoutOnly()
    for index in range(count):
        data = mutated(seeds[index % len(seeds)], rng)
        source.write_bytes(data)
        file_format = formats[index // len(seeds) % len(formats)]
        settings = OutputSettings(file_format, overwrite=True, max_pixels=4_000_000)
        target = folder / f"restored.{file_format}"
        result = restore_file(FileJob(source, target), restorer, settings)
        if source.read_bytes() != data:
            raise RuntimeError("the source was changed")
        yield result.status, result.message, result.seconds


def main() -> int:
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "--files", type=between(int, 1), default=5000, help="how many (default: 5000)"
    )
    parser.add_argument("--minutes", type=between(float, 0), help="stop after so many minutes")
    parser.add_argument("--seeds", type=Path, help="folder of JPEGs to start from")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    args = parser.parse_args()
    seeds = built_in_seeds() + metadata_seeds()
    if args.seeds:
        seeds = [path.read_bytes() for path in find_images(args.seeds, (".jpg", ".jpeg"))]
        if not seeds:
            parser.error(f"no JPEG in {args.seeds}")
    statuses: Counter[str] = Counter()
    messages: Counter[str] = Counter()
    slowest = 0.0
    gave_up = 0
    before = None
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            for status, message, seconds in tqdm(
                outcomes(seeds, args.files, folder, args.seed, ("png", "webp", "jpg")),
                total=args.files,
                unit="file",
            ):
                statuses[status] += 1
                messages[message[:60]] += 1
                slowest = max(slowest, seconds)
                gave_up += GAVE_UP in message
                if statuses.total() == WARM_UP:
                    before = process_state()
                if args.minutes and time.monotonic() - start > 60 * args.minutes:
                    break
        except Exception:
            culprit = Path("fuzz-culprit.jpg")
            culprit.write_bytes((folder / "mutated.jpg").read_bytes())
            print(f"an exception escaped; the file is {culprit}", file=sys.stderr)
            raise
    print(f"{statuses.total()} files: {dict(statuses)}; slowest {slowest:.2f} s")
    print(f"libjpeg gave up at {gave_up}")
    after = process_state()
    if before is not None and after is not None:
        print(
            f"since file {WARM_UP}: open descriptors {before.descriptors} -> {after.descriptors}, "
            f"memory {before.resident / 1e6:.1f} -> {after.resident / 1e6:.1f} MB"
        )
    for message, times in messages.most_common(12):
        print(f"{times:7d}  {message or '(no remark)'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
