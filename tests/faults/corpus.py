"""The corpus of bad inputs, RELIABILITY's section 6, as real files: ``python -m tests.faults.corpus FOLDER``.

It writes ``FOLDER/odd`` with every odd file, ``FOLDER/good`` with sound neighbours and ``FOLDER/manifests``,
and prints what ``featx extract FOLDER`` is expected to make of each.
"""

from __future__ import annotations

import os
import pickle
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import make_images
from tests.images.builders import (
    GIF,
    JPEG,
    PLAIN_INKS,
    PNG,
    TILES,
    cmyk_profile,
    cmyk_tiff,
    encode,
    flipped,
    png,
    png_chunk,
    png_without_end,
    staller,
    with_orientation,
    zeros,
)

DAMAGED = "damaged or truncated image|truncated PNG"
BOMB = "more than 50,000,000"
TINY, THIN = "under 8 pixels", "over 50 times as long"
IGNORED_EXIF = "EXIF block .* ignored"

#: Noise, which a JPEG takes kilobytes for: room to damage it.
NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
OTHERS = [Image.fromarray(255 - TILES), Image.fromarray(TILES[::-1].copy())]


@dataclass(frozen=True)
class Entry:
    """An odd file and what becomes of it.

    Parameters
    ----------
    number : int
        Row of section 6; above 57 are rows that the section lacks.
    name : str
    outcome : {"error", "accept", "ignore"}
    build : bytes, or callable
        The file, a function that returns it, or one that makes something of a path.
    says : str
        Pattern of the reason, or of what is noted about an accepted image.
    pixels : ndarray, optional
        Of an accepted image.
    atol : int
        How far they may be off.
    """

    number: int
    name: str
    outcome: str
    build: bytes | Callable[[], bytes] | Callable[[Path], None]
    says: str = ""
    pixels: np.ndarray | None = None
    atol: int = 0

    @property
    def file_name(self) -> str:
        """Starts with the number; two of an entry may share it."""
        return f"{self.number:02d}-{self.name}"

    def write(self, folder: Path) -> None:
        """Make the file, whatever it is."""
        path = folder / self.file_name
        if isinstance(self.build, bytes):
            path.write_bytes(self.build)
        elif isinstance(self.build, InPlace):
            self.build(path)
        else:
            path.write_bytes(self.build())


class InPlace:
    """Something that is made at a path and is more than its bytes."""

    def __init__(self, make: Callable[[Path], object]) -> None:
        self.make = make

    def __call__(self, path: Path) -> None:
        self.make(path)


def entries() -> list[Entry]:
    """Every entry that a folder can hold, whoever reads it."""
    return [*_no_images(), *_damaged(), *_too_large(), *_accepted(), *_files(), *_stalling()]


def _no_images() -> list[Entry]:
    known = "not an image of a known format"
    return [
        Entry(1, "empty.jpg", "error", b"", "^empty file$"),
        Entry(2, "byte.jpg", "error", b"x", known),
        Entry(3, "text.jpg", "error", b"Dear user, this is no picture.\n", known),
        Entry(4, "page.jpg", "error", b"<!DOCTYPE html>\n<title>404 Not Found</title>", "HTML page"),
        Entry(
            5,
            "pointer.jpg",
            "error",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
            "git lfs pull",
        ),
        Entry(20, "document.jpg", "error", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        Entry(20, "archive.jpg", "error", b"PK\x03\x04" + bytes(26), "zip archive"),
        Entry(20, "pickle.jpg", "error", pickle.dumps({"an": "image"}), known),
        Entry(20, "array.jpg", "error", b"\x93NUMPY\x01\0v\0", "NumPy"),
        Entry(
            21, "drawing.jpg", "error", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"
        ),
        Entry(21, "photo.heic", "error", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported"),
        Entry(36, "float.tif", "error", encode(np.ones((4, 4), np.float32), "TIFF"), "32-bit floats"),
        Entry(40, "new.avif", "error", lambda: encode(TILES, "AVIF"), "AVIF is not supported"),
        Entry(40, "old.jp2", "error", lambda: encode(TILES, "JPEG2000"), "JPEG 2000 is not supported"),
    ]


def _damaged() -> list[Entry]:
    noise = encode(NOISE, "JPEG")
    half = len(noise) // 2
    grey_tail = noise[:half] + bytes(len(noise) - half)
    return [
        Entry(6, "header.jpg", "error", JPEG[: JPEG.index(b"\xff\xda")], DAMAGED),
        Entry(7, "half.jpg", "error", noise[:half], DAMAGED),
        Entry(8, "almost.jpg", "error", noise[:-2], DAMAGED),
        Entry(9, "half.png", "error", PNG[: len(PNG) // 2], DAMAGED),
        Entry(10, "endless.png", "error", png_without_end(), "no IEND"),
        Entry(11, "zeroed tail.jpg", "accept", grey_tail, "tail may be grey"),
        # No checksum tells: the file is whole.
        Entry(12, "flipped.jpg", "accept", flipped(noise, half)),
        Entry(13, "pixels.png", "error", flipped(PNG, PNG.index(b"IDAT") + 16), DAMAGED),
        Entry(14, "checksum.png", "error", flipped(PNG, PNG.index(b"IHDR") + 17), DAMAGED),
        Entry(26, "narrow.png", "error", png(0, 10, 8, 2, [b""] * 10), DAMAGED),
    ]


def _too_large() -> list[Entry]:
    return [
        Entry(23, "900 Mpx.png", "error", png(30_000, 30_000, 8, 2, [b""]), BOMB),
        Entry(23, "4 Gpx.png", "error", png(65_000, 65_000, 8, 2, [b""]), BOMB),
        Entry(24, "96 Mpx.png", "error", lambda: png(12_000, 8_000, 8, 0, [bytes(12_000)] * 8_000), BOMB),
        Entry(
            25,
            "text.png",
            "error",
            lambda: png(1, 1, 8, 0, [b"\0"], png_chunk(b"zTXt", b"x\0\0" + zeros(200))),
            DAMAGED,
        ),
    ]


def _accepted() -> list[Entry]:
    grey = np.asarray(Image.fromarray(TILES).convert("L"))
    grey16 = np.array([[0, 255, 0x7FFF, 0xFFFF]], "<u2")
    upper = np.repeat(np.array([[[0], [0], [127], [255]]], np.uint8), 3, 2)
    one_bit = np.asarray(Image.fromarray(TILES).convert("1").convert("RGB"))
    as_jpeg = np.asarray(Image.open(__import__("io").BytesIO(JPEG)))
    inks = np.array([PLAIN_INKS], np.uint8)
    white = np.full((1, 2, 3), 255, np.uint8)
    palette = png_chunk(b"PLTE", bytes([9, 8, 7, 1, 2, 3])), png_chunk(b"tRNS", b"\0")
    thin = np.full((1, 20_000, 3), 77, np.uint8)
    several = {"save_all": True, "append_images": OTHERS}
    first = "of which the first is taken"
    turned = encode(TILES, "PNG", exif=with_orientation(6))
    return [
        Entry(15, "png.jpg", "accept", PNG, "PNG named .jpg", TILES),
        Entry(16, "gif.jpg", "accept", GIF, "GIF named .jpg", TILES),
        Entry(17, "bmp.jpg", "accept", encode(TILES, "BMP"), "BMP named .jpg", TILES),
        Entry(18, "webp.jpg", "accept", encode(TILES, "WEBP", lossless=True), "WEBP named .jpg", TILES),
        Entry(19, "jpeg.png", "accept", JPEG, "JPEG named .png", as_jpeg),
        Entry(22, "garbage behind.jpg", "accept", JPEG + b"garbage" * 100, "", as_jpeg),
        Entry(22, "two.jpg", "accept", JPEG + encode(NOISE, "JPEG"), "", as_jpeg),
        Entry(27, "tiny.png", "accept", encode(TILES[:1, :1], "PNG"), TINY, TILES[:1, :1]),
        Entry(28, "thin.png", "accept", encode(thin, "PNG"), THIN, thin),
        Entry(29, "turned.png", "accept", turned, "", np.rot90(TILES, -1)),
        Entry(
            30,
            "orientation 99.png",
            "accept",
            encode(TILES, "PNG", exif=with_orientation(99)),
            IGNORED_EXIF,
            TILES,
        ),
        Entry(
            30, "corrupt.jpg", "accept", encode(TILES, "JPEG", exif=b"Exif\0\0garbage"), IGNORED_EXIF, as_jpeg
        ),
        Entry(31, "inks.tif", "accept", cmyk_tiff(), TINY, inks),
        Entry(
            31,
            "inks.jpg",
            "accept",
            encode(Image.fromarray(TILES).convert("CMYK"), "JPEG", quality=95),
            "",
            TILES,
            90,
        ),
        Entry(32, "grey.png", "accept", encode(grey, "PNG"), "", np.dstack([grey] * 3)),
        Entry(32, "grey and opaque.png", "accept", encode(TILES, "PNG", "LA"), "", np.dstack([grey] * 3)),
        Entry(32, "one bit.png", "accept", encode(TILES, "PNG", "1"), "", one_bit),
        Entry(32, "palette.gif", "accept", GIF, "", TILES),
        Entry(33, "clear.png", "accept", png(2, 1, 8, 6, [bytes([9, 8, 7, 0] * 2)]), TINY, white),
        Entry(33, "clear palette.png", "accept", png(2, 1, 8, 3, [bytes(2)], *palette), TINY, white),
        Entry(
            34,
            "grey of 16 bits.png",
            "accept",
            png(4, 1, 16, 0, [grey16.astype(">u2").tobytes()]),
            TINY,
            upper,
        ),
        Entry(
            35,
            "colour of 16 bits.png",
            "accept",
            png(4, 1, 16, 2, [np.repeat(grey16, 3).astype(">u2").tobytes()]),
            TINY,
            upper,
        ),
        Entry(37, "pages.tif", "accept", encode(TILES, "TIFF", **several), f"several pages, {first}", TILES),
        Entry(38, "animated.gif", "accept", encode(TILES, "GIF", **several), f"animation, {first}", TILES),
        Entry(
            38,
            "animated.webp",
            "accept",
            encode(TILES, "WEBP", lossless=True, **several),
            f"animation, {first}",
            TILES,
        ),
        Entry(38, "animated.png", "accept", encode(TILES, "PNG", **several), f"animation, {first}", TILES),
        Entry(39, "profile.tif", "accept", cmyk_tiff(cmyk_profile()[:200]), TINY, inks),
        Entry(39, "profile.png", "accept", encode(TILES, "PNG", icc_profile=b"garbage"), "", TILES),
        Entry(47, "line\nbreak.png", "accept", PNG, "", TILES),
        Entry(47, "猫é.png", "accept", PNG, "", TILES),
        Entry(47, os.fsdecode(b"caf\xe9.png"), "accept", PNG, "", TILES),
        Entry(49, "copy.png", "accept", PNG, "", TILES),
        Entry(51, "near copy.jpg", "accept", encode(TILES, "JPEG", quality=80), "", TILES, 120),
    ]


def _files() -> list[Entry]:
    irregular = "not a regular file"
    found = [
        Entry(41, "folder.jpg", "error", InPlace(Path.mkdir), "^a folder, not a file$"),
        Entry(42, "circle.png", "error", InPlace(lambda path: path.symlink_to(path.name)), "symbolic links"),
        Entry(42, "dangling.png", "error", InPlace(lambda path: path.symlink_to("none.png")), "No such file"),
        Entry(
            43,
            "passwd.jpg",
            "error",
            InPlace(lambda path: path.symlink_to("/etc/passwd")),
            "outside the root",
        ),
        Entry(44, "itself", "ignore", InPlace(lambda path: path.symlink_to("."))),
        Entry(45, "pipe.jpg", "error", InPlace(os.mkfifo), irregular),
        Entry(45, "socket.jpg", "error", InPlace(make_socket), irregular),
        Entry(
            45, "device.jpg", "error", InPlace(lambda path: path.symlink_to("/dev/zero")), "outside the root"
        ),
    ]
    if os.geteuid() == 0:
        found.append(Entry(45, "zeros.jpg", "error", InPlace(make_device), irregular))
    else:
        found.append(Entry(46, "secret.png", "error", InPlace(make_unreadable), "^Permission denied$"))
    return found


def _stalling() -> list[Entry]:
    return [
        Entry(
            58,
            f"{name}.jpg",
            "error",
            lambda name=name: staller(name),
            "segments|passes|needs",
        )
        for name in staller("")
        if name.startswith(("JPEG of 4,000", "TIFF"))
    ]


def make_socket(path: Path) -> None:
    """A socket; its address may be no longer than 107 bytes, so that it is bound by a relative name."""
    here = Path.cwd()
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    """What gives zeros without end; only root may make one."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def make_unreadable(path: Path) -> None:
    """An image that nobody but root may read."""
    path.write_bytes(PNG)
    path.chmod(0)


#: Manifests that refuse a run, row 54, and 50 and 52: text, and what the refusal says.
MANIFESTS = {
    "absolute": ("path\n/etc/passwd\n", "line 2: .* leaves"),
    "parent": ("path\n../a.png\n", "line 2: .* leaves"),
    "drive": ("path\nC:\\a.png\n", "line 2: .* leaves"),
    "server": ("path\n\\\\server\\share\\a.png\n", "line 2: .* leaves"),
    "NUL": ("path\na\0b.png\n", "line 2: .* is not a path"),
    "twice": ("path\na.png\n./a.png\n", "line 3: .* stands on line 2 already"),
    "no column": ("name,label\na.png,x\n", "without a column 'path'"),
    "ragged": ("path,label\na.png,x\nb.png\n", "line 3: received 1 fields"),
    "long field": (f"path\n{'b' * 10_000_000}\n", "line 2: field larger"),
    "UTF-16": ("path\na.png\n".encode("utf-16"), "line 1: not UTF-8"),
    "no label": ("path,label\na.png,x\nb.png,\n", "line 3: received the label ''"),
    "NaN label": ("path,label\na.png,x\nb.png,NaN\n", "line 3: received the label 'NaN'"),
    "spaced label": ("path,label\na.png,x\nb.png,x \n", "line 3: received the label 'x '"),
    "case twins": ("path,label\na.png,Cat\nb.png,cat\n", "the classes 'Cat' and 'cat'"),
}


def write_corpus(folder: Path) -> list[Entry]:
    """Write every odd file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = entries()
    for entry in written:
        entry.write(folder)
    return written


def write_good(folder: Path, n_images: int) -> list[str]:
    """Write sound images beside them; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:03d}.png" for index in range(n_images)]
    for name, pixels in zip(names, make_images(n_images, seed=5), strict=True):
        Image.fromarray(pixels).save(folder / name)
    return names


def write_manifests(folder: Path) -> None:
    """Write the manifests that refuse a run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (text, _) in MANIFESTS.items():
        (folder / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())


def main(folder: Path) -> None:
    """Write all of it, and print what is expected."""
    written = write_corpus(folder / "odd")
    write_good(folder / "good", 4 * len(written))
    write_manifests(folder / "manifests")
    for entry in written:
        sys.stdout.write(f"{entry.outcome:<7} odd/{entry.file_name!r:<40} {entry.says}\n")
    for name, (_, says) in MANIFESTS.items():
        sys.stdout.write(f"refuse  manifests/{name}.csv  {says}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
