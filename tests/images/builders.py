"""Image files for tests, written by Pillow or by hand, whole and damaged: every test takes them from here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

#: Flat tiles, so that a codec with losses keeps them nearly; 24 wide and 16 high, so that a turn shows.
TILES = np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3)), np.ones((4, 4, 1))).astype(np.uint8)
ORIENTATION = 0x0112
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def encode(pixels, image_format, mode=None, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color_type, rows, *extra):
    """A PNG written by hand, for what Pillow would not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def with_orientation(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def flipped(data, offset):
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


JPEG, PNG, GIF = encode(TILES, "JPEG"), encode(TILES, "PNG"), encode(TILES, "GIF")


def png_without_end():
    return PNG[: PNG.index(b"IEND") - 4]


def mutants(data, n_mutants):
    """Copies with bits flipped, bytes changed, cut out or doubled, most of them near the start."""
    for seed in range(n_mutants):
        rng = np.random.default_rng(seed)
        mutant = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            offset = int(rng.integers(len(mutant) if seed % 2 else min(len(mutant), 120)))
            length = int(rng.integers(1, 16))
            change = rng.integers(4)
            if change == 0:
                mutant[offset] ^= 1 << int(rng.integers(8))
            elif change == 1:
                mutant[offset] = int(rng.integers(256))
            elif change == 2:
                del mutant[offset : offset + length]
            else:
                mutant[offset:offset] = mutant[offset : offset + length]
        yield bytes(mutant)


def huge_headers():
    """Whole small files whose header claims 900 megapixels, or what the format can at most."""
    jpeg, bmp, gif = bytearray(JPEG), bytearray(encode(TILES, "BMP")), bytearray(GIF)
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    gif[6:10] = struct.pack("<HH", 30_000, 30_000)
    webp = bytearray(encode(TILES, "WEBP"))
    frame = webp.index(b"\x9d\x01\x2a")
    webp[frame + 3 : frame + 7] = struct.pack("<HH", 16_383, 16_383)
    tiff = bytearray(encode(TILES, "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1)) + 8
        tiff[entry : entry + 4] = struct.pack("<I", 30_000)
    return {
        "PNG": png(30_000, 30_000, 8, 2, [b""]),
        "larger PNG": png(65_000, 65_000, 8, 2, [b""]),
        "JPEG": bytes(jpeg),
        "BMP": bytes(bmp),
        "GIF": bytes(gif),
        "WEBP": bytes(webp),
        "TIFF": bytes(tiff),
    }


def zeros(n_mebibytes):
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(n_mebibytes)) + packer.flush()


def cmyk_profile():
    """An ICC profile by which black ink alone makes grey, and the three colours make nothing."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    ramp, white_point = bytes(range(256)), fixed(0.9642, 1.0, 0.8249)
    # From no black to full black, whatever the other inks.
    grid = bytes([255, 128, 128, 0, 128, 128]) * 2**3
    table = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
        + ramp * 4
        + grid
        + ramp * 3
    )
    tags = {
        b"A2B0": table,
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + white_point,
    }
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        directory += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    header[0:4] = struct.pack(">I", start + len(body))
    header[8:12] = b"\x02\x10\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = white_point
    return bytes(header) + directory + body


# Full ink of each kind in turn, and none.
INKS = np.array([[[255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)
PLAIN_INKS = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0], [255, 255, 255]]


def cmyk_tiff(profile=None):
    return encode(Image.fromarray(INKS, "CMYK"), "TIFF", **({"icc_profile": profile} if profile else {}))


def jpeg_segment(kind, data):
    return bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data


def jpeg_of_scans(width, height, n_scans):
    """A grey progressive JPEG, which refines all its pixels in each scan of ten bytes or a hundred."""
    zero_bit = bytes([1]) + bytes(15)
    runs_of_blocks = bytes([1, 1]) + bytes(14)
    head = [
        b"\xff\xd8",
        jpeg_segment(0xDB, bytes(1) + b"\1" * 64),
        jpeg_segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
        jpeg_segment(0xC4, b"\0" + zero_bit + b"\0"),
        # One bit and the 14 bits of how many blocks have nothing to refine, or two for one of them.
        jpeg_segment(0xC4, b"\x10" + runs_of_blocks + b"\xe0\0"),
        jpeg_segment(0xDA, bytes([1, 1, 0, 0, 0, 0])),
    ]
    n_blocks = -(-width // 8) * -(-height // 8)
    bits = ""
    while n_blocks > 0:
        run = min(n_blocks, 2**15 - 1)
        bits += f"0{max(run - 2**14, 0):014b}"
        n_blocks -= max(run, 2**14)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    scan = jpeg_segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + runs
    return b"".join(head) + scan * (n_scans - 1) + b"\xff\xd9"


def tiff_of_tiles(width, height, tile_width, tile_height):
    """A grey TIFF whose tiles are all the same few compressed bytes."""
    n_tiles = -(-width // tile_width) * -(-height // tile_height)
    tile = zlib.compress(bytes(tile_width * tile_height), 9)
    tables = 8 + 2 + 10 * 12 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(277, 3, 1, 1), (322, 4, 1, tile_width), (323, 4, 1, tile_height)]
    if n_tiles == 1:
        tags += [(324, 4, 1, tables), (325, 4, 1, len(tile))]
    else:
        tags += [(324, 4, n_tiles, tables), (325, 4, n_tiles, tables + 4 * n_tiles)]
        tile = (
            struct.pack("<I", tables + 8 * n_tiles) * n_tiles + struct.pack("<I", len(tile)) * n_tiles + tile
        )
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + tile


def tiff_of_strips(n_strips, n_idle_bytes):
    """A grey TIFF whose strips of a row are all the same bytes, most of which unpack to nothing."""
    row = zlib.compress(bytes(100))
    strip = row[:2] + b"\0\0\0\xff\xff" * (n_idle_bytes // 5) + row[2:]
    tables = 8 + 2 + 9 * 12 + 4
    tags = [(256, 4, 1, 100), (257, 4, 1, n_strips), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, n_strips, tables), (277, 3, 1, 1), (278, 4, 1, 1)]
    tags += [(279, 4, n_strips, tables + 4 * n_strips)]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    places = struct.pack("<I", tables + 8 * n_strips) * n_strips
    counts = struct.pack("<I", len(strip)) * n_strips
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + places + counts + strip


def staller(name, n_parts=1_000_000):
    """A small image in a file that keeps an unguarded decoder busy for long, by its parts.

    Without a name, the names.
    """
    gif_body = 13 + 3 * (2 << (GIF[10] & 7))
    end = PNG.index(b"IEND") - 4
    builders = {
        "JPEG of empty segments": lambda: JPEG[:2] + b"\xff\xe4\0\2" * n_parts + JPEG[2:],
        "JPEG of fill bytes": lambda: JPEG[:2] + b"\xff" * (2 * n_parts) + JPEG[2:],
        "JPEG of 4,000 scans": lambda: jpeg_of_scans(8000, 6250, 4000),
        "small JPEG of 20,000 scans": lambda: jpeg_of_scans(8, 8, 20_000),
        "PNG of empty chunks": lambda: PNG[:33] + png_chunk(b"prIv", b"") * n_parts + PNG[33:],
        "PNG of chunks after its pixels": lambda: PNG[:end] + png_chunk(b"prIv", b"") * n_parts + PNG[end:],
        "GIF of empty comments": lambda: GIF[:gif_body] + b"!\xfe\1a\0" * n_parts + GIF[gif_body:],
        "TIFF of tiles beyond it": lambda: tiff_of_tiles(16 * 1024, 1, 16, 65_536),
        "TIFF of a million strips": lambda: b"II*\0" + struct.pack("<IHHHII", 8, 1, 273, 4, 10**6, 0),
        "big TIFF of a million strips": lambda: (
            b"II+\0" + struct.pack("<HHQQHHQQ", 8, 0, 16, 1, 273, 4, 10**6, 0)
        ),
        "TIFF of strips in one place": lambda: tiff_of_strips(50_000, 900_000),
        "BMP of runs of one pixel": lambda: bmp_of_runs(1000, n_parts // 1000),
    }
    return builders[name]() if name else list(builders)


def bmp_of_runs(width, height):
    """A BMP in run-length encoding in which every run is of one pixel."""
    runs = b"\1\5" * (width * height)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + bytes(1024) + runs
