#!/usr/bin/env python3
"""Makes the seeds in fuzz/corpus: small files from which a fuzzer starts. Needs Pillow (target/tools/clients-venv has it).

Run it from the root of the repository. The seeds are committed, so fuzzing needs neither Python nor Pillow.
"""

import io
import pathlib
import random
import struct
import sys
import zlib

from PIL import Image, ImageCms

ROOT = pathlib.Path(__file__).parent
sys.path.append(str(ROOT.parent / "tests/clients"))
import tiff_files  # noqa: E402

SEEDS = ROOT / "corpus"


def save(target, name, data):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def picture(mode="RGB", size=(33, 21)):
    noise = random.Random(f"{mode}{size}")
    image = Image.new("RGBA", size)
    for x in range(size[0]):
        for y in range(size[1]):
            jitter = noise.randrange(24)
            image.putpixel((x, y), (x * 7 + jitter, y * 11, (x ^ y) * 4, 255 - 3 * x))
    return image.convert(mode)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiff_block(order=">", orientation=6):
    """A block with tags in IFD0, the Exif IFD and the GPS IFD, like a phone's."""

    def ifd(at, fields):
        out, values = struct.pack(order + "H", len(fields)), b""
        behind = at + 2 + 12 * len(fields) + 4
        for tag, kind, count, value in fields:
            if len(value) > 4:
                entry = struct.pack(order + "I", behind + len(values))
                values += value
            else:
                entry = value.ljust(4, b"\0")
            out += struct.pack(order + "HHI", tag, kind, count) + entry
        return out + struct.pack(order + "I", 0) + values

    def short(value):
        return struct.pack(order + "H", value)

    def rationals(*numbers):
        return struct.pack(order + "I" * len(numbers), *numbers)

    def text(value):
        return value.encode() + b"\0"

    exif = [
        (0x829A, 5, 1, rationals(1, 120)),
        (0x8827, 3, 1, short(200)),
        (0x9003, 2, 20, text("2026:11:23 10:20:30")),
        (0x9011, 2, 7, text("+01:00")),
        (0x9204, 10, 1, rationals(0xFFFFFFFF, 3)),
        (0xA432, 5, 4, rationals(4, 1, 9, 1, 17, 10, 28, 10)),
        (0xA434, 2, 7, text("Lens 7")),
    ]
    gps = [
        (1, 2, 2, b"N\0"),
        (2, 5, 3, rationals(52, 1, 31, 1, 1234, 100)),
        (3, 2, 2, b"E\0"),
        (4, 5, 3, rationals(13, 1, 24, 1, 30, 1)),
    ]
    first = [
        (0x010F, 2, 6, text("Maker")),
        (0x0110, 2, 8, text("Phone 7")),
        (0x0112, 3, 1, short(orientation)),
        (0x0132, 2, 20, text("2026:11:23 10:20:30")),
    ]
    at_exif = 8 + len(ifd(8, first)) + 2 * 12
    at_gps = at_exif + len(ifd(at_exif, exif))
    pointer = [(0x8769, 4, 1, struct.pack(order + "I", at_exif)), (0x8825, 4, 1, struct.pack(order + "I", at_gps))]
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    return head + ifd(8, first + pointer) + ifd(at_exif, exif) + ifd(at_gps, gps)


def with_exif(jpeg, block):
    payload = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def with_larger_steps(jpeg, factor):
    """Multiplies the first quantisation table, so that samples leave what libjpeg-turbo clamps without SIMD: -512 to 511."""
    at = jpeg.index(b"\xff\xdb\0\x43\0") + 5
    steps = bytes(min(255, factor * step) for step in jpeg[at : at + 64])
    return jpeg[:at] + steps + jpeg[at + 64 :]


def jpegs():
    colours = picture()
    yield "420.jpg", file(colours, "JPEG", quality=75)
    yield "422.jpg", file(colours, "JPEG", quality=85, subsampling=1)
    yield "444.jpg", file(colours, "JPEG", quality=60, subsampling=0)
    yield "grey.jpg", file(picture("L"), "JPEG", quality=80)
    yield "cmyk.jpg", file(picture("CMYK"), "JPEG", quality=70)
    yield "progressive.jpg", file(colours, "JPEG", quality=75, progressive=True)
    yield "progressive_444.jpg", file(colours, "JPEG", quality=95, subsampling=0, progressive=True)
    yield "progressive_restarts.jpg", file(
        picture("L"), "JPEG", quality=75, progressive=True, restart_marker_blocks=2
    )
    yield "restarts.jpg", file(colours, "JPEG", quality=75, restart_marker_blocks=1, optimize=True)
    yield "rgb.jpg", file(colours, "JPEG", quality=75, keep_rgb=True)
    yield "far_out_of_range.jpg", with_larger_steps(file(picture("L"), "JPEG", quality=75), 20)
    yield "wide.jpg", file(picture(size=(700, 9)), "JPEG", quality=10)
    yield "turned.jpg", with_exif(file(colours, "JPEG", quality=50), tiff_block())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield "profile.jpg", file(colours, "JPEG", quality=50, icc_profile=profile)


def rasters():
    colours, index = picture("RGBA"), picture("P")
    turned = tiff_block()
    frames = {"save_all": True, "append_images": [picture("P", (20, 20))]}
    yield 0, "rgba.png", file(colours, "PNG", exif=turned)
    yield 0, "palette.png", file(index, "PNG", transparency=3)
    yield 0, "grey16.png", file(picture("L").convert("I;16"), "PNG")
    yield 0, "bit.png", file(picture("1"), "PNG")
    yield 1, "lossy.webp", file(colours, "WEBP", quality=50, exif=turned)
    yield 1, "lossless.webp", file(colours, "WEBP", lossless=True)
    yield 1, "film.webp", file(colours, "WEBP", save_all=True, append_images=[picture("RGBA", (33, 21))])
    yield 2, "film.gif", file(index, "GIF", **frames)
    yield 2, "transparent.gif", file(index, "GIF", transparency=2, interlace=1)
    for name in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]:
        yield 3, f"{name}.tif", file(picture(), "TIFF", compression=name)
    yield 3, "cmyk.tif", file(picture("CMYK"), "TIFF")
    yield 3, "palette.tif", file(index, "TIFF")
    yield 3, "differences.tif", file(colours, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    for name, tiled in [("strips", False), ("tiles", True)]:
        rows = tiff_files.with_samples(tiff_files.rows_of(tiff_files.ramp("RGB")), 3, 1)
        yield 3, f"planar_{name}.tif", tiff_files.laid_out(rows, 2, 4, planar=True, deflated=True, predictor=2, extra=[0], tiled=tiled)
    yield 3, "bits.tif", file(picture("1"), "TIFF", compression="group4")
    yield 4, "rgb.bmp", file(picture(), "BMP")
    yield 4, "palette.bmp", file(index, "BMP")
    yield 5, "sizes.ico", file(picture("RGBA", (32, 32)), "ICO", sizes=[(16, 16), (32, 32)])
    yield 5, "bmp.ico", file(picture("RGBA", (16, 16)), "ICO", sizes=[(16, 16)], bitmap_format="bmp")


class BitWriter:
    """Bits from the lowest of each byte on."""

    def __init__(self):
        self.bits, self.count = 0, 0

    def put(self, number, count):
        self.bits |= number << self.count
        self.count += count

    def bytes(self):
        return self.bits.to_bytes(self.count // 8 + 8, "little")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, kind, data, more=b"", interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, interlaced)
    chunks = png_chunk(b"IHDR", header) + more + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def webp_groups(groups):
    """A lossless WebP of one pixel, with so many groups of codes, each with tables of its own."""
    stream = BitWriter()
    stream.put(0x2F | 1 << 42, 43)
    stream.put(0, 4)
    for symbol in (groups - 1 & 0xFF, groups - 1 >> 8, 0, 0, 0):
        stream.put(5 | symbol << 3, 11)
    for _ in range(groups):
        for _ in range(4):
            # 256 symbols of eight bits.
            stream.put(8 << 1 | 1 << 38 | 1 << 41 | 3 << 42 | 254 << 45, 53)
        stream.put(5, 11)
    data = stream.bytes() + bytes(8)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) & 1)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def tiff_of_one_tile(count):
    """A TIFF whose tiles all lie at one place."""
    tile = zlib.compress(bytes(16 * 16))
    side = 16 * count
    at = 8 + 2 + 10 * 12 + 4
    offsets, counts = at, at + 4 * count * count
    data = counts + 4 * count * count
    fields = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    fields += [(322, 3, 1, 16), (323, 3, 1, 16), (324, 4, count * count, offsets), (325, 4, count * count, counts)]
    directory = b"".join(struct.pack("<HHII", *field) for field in fields)
    places = struct.pack("<I", data) * count**2 + struct.pack("<I", len(tile)) * count**2
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + bytes(4) + places + tile


def costly():
    """Small versions of files that cost more than they look, each with the byte that names its format."""
    row = zlib.compress(b"\0\0")
    empty_blocks = (2 | 2 << 10 | 2 << 20 | 2 << 30).to_bytes(5, "little")
    yield 0, "scans.jpg", file(picture(size=(64, 64)), "JPEG", quality=90, progressive=True)
    yield 1, "blocks.png", png(1, 1, 0, row[:2] + empty_blocks * 400 + row[2:])
    yield 1, "chunks.png", png(1, 1, 0, row, more=png_chunk(b"teSt", b"") * 200)
    yield 1, "tall.png", png(64, 16000, 6, zlib.compress((b"\4" + bytes(4 * 64)) * 16000, 9))
    yield 1, "profile.png", png(1, 1, 0, row, more=png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1 << 20), 9)))
    yield 2, "groups.webp", webp_groups(64)
    gradient = Image.linear_gradient("L")
    colours = Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_90), gradient))
    yield 2, "large.webp", file(colours.resize((2560, 2560), Image.Resampling.NEAREST), "WEBP", lossless=True)
    yield 2, "flat_lossy.webp", file(Image.new("RGBA", (1000, 1000), (9, 9, 9, 9)), "WEBP", quality=1)
    yield 3, "comments.gif", b"GIF89a\1\0\1\0\0\0\0" + (b"!\xfe\1x\0" * 400) + b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;"
    yield 3, "flat.gif", file(Image.new("P", (1000, 1000)), "GIF")
    yield 4, "one_tile.tif", tiff_of_one_tile(12)
    header = b"BM" + bytes(8) + struct.pack("<IIiiHHIIIIII", 58, 40, 1000, 1000, 1, 8, 1, 0, 0, 0, 1, 0)
    yield 5, "rle.bmp", header + b"\x80\x80\x80\0" + b"\0\2\0\0" * 400 + b"\0\1"
    yield 6, "sizes.ico", file(picture("RGBA", (32, 32)), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format="bmp")
    for name in ["420.avif", "grid.heic", "alpha.heic"]:
        yield 7, name, (ROOT.parent / "tests/fixtures/heif" / name).read_bytes()


FORM = b"multipart/form-data; boundary=b"


def part(headers, data):
    return b"--b\r\n" + headers + b"\r\n\r\n" + data + b"\r\n"


def form(*photos):
    body = part(b'Content-Disposition: form-data; name="title"', b"a title")
    for photo in photos:
        disposition = b'Content-Disposition: form-data; name="files"; filename="p.jpg"\r\nContent-Type: image/jpeg'
        body += part(disposition, photo)
    return body + b"--b--\r\n"


def bodies():
    yield "form", form(b"one", b"two\r\n--\r\n")
    yield "preamble", b"preamble\r\n" + form(b"") + b"epilogue"
    yield "twice", part(b'Content-Disposition: form-data; name="a"; name="b"', b"x") + b"--b--"
    yield "escaped", part(rb'Content-Disposition: form-data; name="files"; filename="C:\x\"y.jpg"', b"1") + b"--b--"
    yield "utf8", part('content-disposition: Form-Data; NAME=ä; filename*=UTF-8\'\'x'.encode(), b"1") + b"--b--"
    yield "cut", form(b"one")[:-6]
    yield "padded", b"--b  \r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b--"
    quoted = b'Content-Disposition: form-data; name="files"; filename="a "b" c.jpg"\r\nContent-Transfer-Encoding: base64'
    yield "bare_quotes", part(quoted, b"1") + b"--b--"
    yield "latin1", part(b'X: \xe9\r\nContent-Disposition: form-data; name="files"; filename="caf\xe9.jpg"', b"1") + b"--b--"
    yield "hidden_name", part(rb'Content-Disposition: form-data; name=a; filename="a\"; name="files"', b"1") + b"--b--"
    yield "folded", part(b'Content-Disposition: form-data;\r\n name="a"', b"1") + b"--b--"


def requests():
    def upload(body, framing=None, more=b""):
        framing = framing or b"Content-Length: %d" % len(body)
        head = b"POST /api/v1/ingest/upload HTTP/1.1\r\nHost: a\r\nContent-Type: " + FORM + b"\r\n"
        return head + framing + b"\r\n" + more + b"\r\n" + body

    photos = dict(jpegs())
    whole = form(photos["420.jpg"])
    yield "upload", upload(whole)
    yield "two", upload(form(photos["grey.jpg"], photos["turned.jpg"]))
    chunks = b"%x\r\n" % len(whole) + whole + b"\r\n0\r\n\r\n"
    yield "chunked", upload(chunks, b"Transfer-Encoding: chunked")
    yield "continue", upload(whole, more=b"Expect: 100-continue\r\n")
    yield "cut", upload(whole)[:-40]
    yield "text", upload(form(b"<svg/>"))
    for name, data in [("png", "rgba.png"), ("webp", "lossy.webp"), ("gif", "film.gif")]:
        yield name, upload(form(next(file for _, kind, file in rasters() if kind == data)))
    yield "avif", upload(form((ROOT.parent / "tests/fixtures/heif/420.avif").read_bytes()))
    yield "heic", upload(form((ROOT.parent / "tests/fixtures/heif/grey.heic").read_bytes()))
    yield "empty", upload(b"--b--")
    yield "long", upload(b"", b"Content-Length: 99999999999")
    for name, path in [
        ("health", b"/api/v1/health"),
        ("ready", b"/api/v1/ready"),
        ("metrics", b"/metrics"),
        ("listing", b"/api/v1/listings/1"),
        ("nowhere", b"/%2e%2e/etc/passwd"),
        ("media", b"/media/" + 64 * b"a" + b".jpg"),
    ]:
        yield name, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    yield "head", b"HEAD /media/x.jpg HTTP/1.1\r\nHost: a\r\nRange: bytes=0-5\r\nIf-None-Match: *\r\n\r\n"
    yield "old", b"GET /api/v1/health HTTP/1.0\r\n\r\n"
    yield "cors", b"OPTIONS /api/v1/ingest/upload HTTP/1.1\r\nHost: a\r\nOrigin: http://x\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    yield "pipelined", 2 * b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\n\r\n"
    settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    fields = b"\x82\x86\x41\x01a\x04\x0e/api/v1/health"
    yield "http2", settings + len(fields).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + fields


def main():
    for name, data in jpegs():
        save("jpeg_pipeline", name, data)
        if name == "turned.jpg":
            save("exif_orientation", name, b"\x01" + data)
    for choice, name, data in rasters():
        save("png_webp_gif_tiff", name, bytes([choice]) + data)
        save("sniff", name, data[:64])
        if name == "rgba.png":
            save("exif_orientation", name, b"\x02" + data)
        if name == "lossy.webp":
            save("exif_orientation", name, b"\x03" + data)
    for choice, name, data in costly():
        save("work_budget", name, bytes([choice]) + data)
    save("exif_orientation", "big.tif", b"\0" + tiff_block())
    save("exif_orientation", "little.tif", b"\0" + tiff_block("<", 3))
    for path in sorted((ROOT.parent / "tests/fixtures/heif").glob("*.[ah]*i[cf]")):
        save("heic_avif", path.name, path.read_bytes())
        save("sniff", path.name, path.read_bytes()[:64])
    save("sniff", "420.jpg", dict(jpegs())["420.jpg"][:32])
    save("sniff", "pdf", b"%PDF-1.7")
    save("sniff", "base64", b"/9j/4AAQSkZJRgABAQAAAQABAAD")
    save("sniff", "json", b'{"error": "token expired"}')
    save("sniff", "bigtiff", b"II+\0\x08\0\0\0")
    save("sniff", "cr2", b"II*\0\x10\0\0\0CR\x02\0")
    save("sniff", "tar", bytes(257) + b"ustar")
    for name, body in bodies():
        save("multipart_guard", name, FORM + b"\n" + body)
    save("multipart_guard", "quoted", b'multipart/form-data; boundary="a b:c"\n--a b:c\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--a b:c--')
    for n, header in enumerate(["bytes=0-499", "bytes=-500", "bytes=9500-", "bytes=0-0,-1", "bytes=10000-", "Bytes = 5-4", "lines=0-1"]):
        save("range_header", f"{n}", b"10000\n" + header.encode())
    save("range_header", "huge", b"18446744073709551615\nbytes=0-99999999999999999999")
    for name, data in requests():
        save("upload_request", name, data)


main()
