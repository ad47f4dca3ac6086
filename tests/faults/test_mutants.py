"""T11: ten thousand damaged copies of each format in a child process, which must outlive every one.

Each is decoded by `load_image` or refused by a `DecodeError`, within ten seconds and a cap of memory.
The child has an alarm and a limit of address space; that it ends by a signal is a loss,
as is any other exception.
"""

import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.builders import TILES, bmp_of_runs, cmyk_profile, encode, with_orientation

#: What an image of 50 megapixels with alpha takes, decoded and composited, and the process itself.
MAX_RESIDENT_MIB = 1_300
MAX_ADDRESS_MIB = 6_000
MAX_SECONDS = 10

CHILD = """
import pickle, resource, signal, sys, time, warnings
from featx.errors import DecodeError
from featx.images.decoding import load_image
from tests.faults.test_mutants import mutant

limit = int(sys.argv[3]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
warnings.simplefilter("ignore")
with open(sys.argv[1], "rb") as file:
    seeds = pickle.load(file)
n_refused, longest = 0, 0.0
for index in range(int(sys.argv[2])):
    data = mutant(seeds[index % len(seeds)], index)
    signal.alarm(int(sys.argv[4]))
    # Whatever kills the process, this is the mutant that did.
    print(index, flush=True)
    started = time.perf_counter()
    try:
        image = load_image(data, (24, 24), "mutant")
        if image.shape != (24, 24, 3) or image.dtype != "uint8":
            print("bad shape", flush=True)
    except DecodeError as error:
        n_refused += 1
        if not str(error).isprintable():
            print("unprintable", flush=True)
    except Exception as error:
        print(f"escaped {type(error).__name__}: {error!r}", flush=True)
    longest = max(longest, time.perf_counter() - started)
    signal.alarm(0)
# Not ru_maxrss, which begins with what the parent had.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print("done", n_refused, longest, int(peak) // 1024, flush=True)
"""


def seeds(image_format):
    """Whole files of a format, of every kind whose decoding takes another way."""
    large = np.kron(TILES, np.ones((6, 6, 1), np.uint8))
    if image_format == "JPEG":
        return [
            encode(large, "JPEG", exif=with_orientation(6)),
            encode(large, "JPEG", progressive=True),
            encode(TILES, "JPEG", "CMYK", icc_profile=cmyk_profile()),
            encode(TILES, "JPEG", "L", restart_marker_blocks=1),
        ]
    if image_format == "PNG":
        wide = np.kron(np.arange(24, dtype=np.uint16)[None] * 2700, np.ones((9, 1), np.uint16))
        return [
            encode(TILES, "PNG", exif=with_orientation(6)),
            encode(TILES, "PNG", "P", transparency=0),
            encode(wide, "PNG"),
            encode(TILES, "PNG", "RGBA", save_all=True, append_images=[encode_image()]),
        ]
    if image_format == "WEBP":
        return [
            encode(large, "WEBP", exif=with_orientation(6)),
            encode(TILES, "WEBP", "RGBA", lossless=True),
            encode(TILES, "WEBP", save_all=True, append_images=[encode_image()]),
        ]
    if image_format == "GIF":
        several = {"save_all": True, "append_images": [encode_image()]}
        return [encode(TILES, "GIF"), encode(TILES, "GIF", comment=b"of no use", **several)]
    if image_format == "TIFF":
        compressions = ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4")
        return [
            encode(TILES, "TIFF", "1" if name == "group4" else None, compression=name)
            for name in compressions
        ]
    return [encode(TILES, "BMP"), encode(TILES, "BMP", "P"), bmp_of_runs(12, 9)]


def encode_image():
    """Another picture, for what holds several."""
    return Image.fromarray(255 - TILES)


def mutant(data, index):
    """A copy with one to three changes, of one kind or of several."""
    rng = np.random.default_rng(index)
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if changed:
            CHANGES[int(rng.integers(len(CHANGES)))](changed, rng)
    return bytes(changed)


def flip_bit(data, rng):
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def change_byte(data, rng):
    data[int(rng.integers(len(data)))] = int(rng.choice([0, 1, 127, 128, 254, 255]))


def truncate(data, rng):
    del data[int(rng.integers(len(data))) :]


def zero_block(data, rng):
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    data[start : start + length] = bytes(len(data[start : start + length]))


def repeat_block(data, rng):
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    at = int(rng.integers(len(data)))
    data[at:at] = data[start : start + length]


def change_header_field(data, rng):
    """A field of two or four bytes near the start, set to a number that tempts an overflow."""
    size = int(rng.choice([2, 4]))
    start = int(rng.integers(min(len(data), 120)))
    value = int(rng.choice([0, 1, 7, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 9_000]))
    field = (value % 2 ** (8 * size)).to_bytes(size, str(rng.choice(["little", "big"])))
    data[start : start + size] = field


CHANGES = (flip_bit, change_byte, truncate, zero_block, repeat_block, change_header_field)


@pytest.mark.protocol("T11", "P11", "damaged copies of images decoded in a child process")
@pytest.mark.parametrize("n_mutants", [300, pytest.param(10_000, marks=pytest.mark.faults)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_damaged_image_is_decoded_or_refused_and_no_more(image_format, n_mutants, tmp_path, ledger):
    (tmp_path / "seeds").write_bytes(pickle.dumps(seeds(image_format)))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            tmp_path / "seeds",
            str(n_mutants),
            str(MAX_ADDRESS_MIB),
            str(MAX_SECONDS),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    lines = done.stdout.splitlines()
    ledger.inject(sum(line.isdigit() for line in lines))
    for before, line in pairwise(lines):
        if not line.isdigit() and not line.startswith("done"):
            ledger.lose(f"{image_format} mutant {before}: {line}")
    if not lines or not lines[-1].startswith("done"):
        ledger.lose(f"{image_format} mutant {lines[-1:]}: ended with {done.returncode}, {done.stderr[-300:]}")
        return
    _, n_refused, longest, resident = lines[-1].split()
    if float(longest) > MAX_SECONDS or int(resident) > MAX_RESIDENT_MIB:
        ledger.lose(f"{image_format}: {longest} s, {resident} MiB")
    # Were there few, the mutants would be too tame to tell anything.
    assert int(n_refused) > n_mutants / 10
    assert len(lines) == n_mutants + 1
