"""TIFF files of every kind that the server reads.

Pillow writes few of them, so the strips and tiles are laid out here, byte by byte. Each of those comes with the picture that
it holds, as Pillow reads some of them wrongly (planes of 16 bits, planes of grey and alpha). Of compressed files the picture
is what libtiff makes of them. The pictures are smooth, so that a wrong sample shows and JPEG does not.
"""

import io
import struct
import zlib

from PIL import Image, ImageCms

WIDTH, HEIGHT, TILE = 45, 30, 16
SHORT, LONG, UNDEFINED = 3, 4, 7
SIZES = {SHORT: "H", LONG: "I", UNDEFINED: "B"}
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2


def ramp(mode):
    """A picture whose samples all have slopes of their own."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    slopes = [(5, 1, 0), (-3, 4, 140), (1, 6, 20), (2, -3, 100), (-2, -1, 200)]
    pixels = bytes(
        max(0, min(255, x * slopes[band][0] + y * slopes[band][1] + slopes[band][2]))
        for y in range(HEIGHT) for x in range(WIDTH) for band in range(bands)
    )
    return Image.frombytes(mode, (WIDTH, HEIGHT), pixels)


def tiff(tags, chunks, order="<", tiled=False):
    """A file of one directory, `tags` being {tag: (type, values)}."""
    offsets_tag, lengths_tag = (324, 325) if tiled else (273, 279)
    tags = {**tags, offsets_tag: (LONG, [0] * len(chunks)), lengths_tag: (LONG, [len(chunk) for chunk in chunks])}
    data = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8))
    data += bytes(2 + 12 * len(tags) + 4)
    at = 8
    data[at:at + 2] = struct.pack(order + "H", len(tags))
    places = {}
    for index, (tag, (kind, values)) in enumerate(sorted(tags.items())):
        value = struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
        entry = 10 + 12 * index
        if len(value) <= 4:
            places[tag] = entry + 8
            field = value.ljust(4, b"\0")
        else:
            places[tag] = len(data)
            field = struct.pack(order + "I", len(data))
            data += value + bytes(len(value) % 2)
        data[entry:entry + 12] = struct.pack(order + "HHI", tag, kind, len(values)) + field
    for index, chunk in enumerate(chunks):
        place = places[offsets_tag] + 4 * index
        data[place:place + 4] = struct.pack(order + "I", len(data))
        data += chunk
    return bytes(data)


def differences(row, samples, bits):
    if bits == 16:
        return [(value - (row[at - samples] if at >= samples else 0)) % 65536 for at, value in enumerate(row)]
    return [(value - (row[at - samples] if at >= samples else 0)) % 256 for at, value in enumerate(row)]


def laid_out(rows, photometric, samples, *, bits=8, order="<", tiled=False, planar=False, deflated=False, predictor=1,
             rows_per_strip=7, extra=None, reverse=False, more=None):
    """A file of `rows`, which are lists of samples, chunk by chunk."""
    tags = {
        256: (LONG, [WIDTH]), 257: (LONG, [HEIGHT]), 258: (SHORT, [bits] * samples), 259: (SHORT, [8 if deflated else 1]),
        262: (SHORT, [photometric]), 277: (SHORT, [samples]), 284: (SHORT, [2 if planar else 1]),
    }
    if predictor != 1:
        tags[317] = (SHORT, [predictor])
    if extra is not None:
        tags[338] = (SHORT, extra)
    if reverse:
        tags[266] = (SHORT, [2])
    tags.update(more or {})
    if tiled:
        tags |= {322: (SHORT, [TILE]), 323: (SHORT, [TILE])}
        boxes = [(x, y, TILE, TILE) for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]
    else:
        tags[278] = (LONG, [rows_per_strip])
        boxes = [(0, y, WIDTH, min(rows_per_strip, HEIGHT - y)) for y in range(0, HEIGHT, rows_per_strip)]
    chunks = []
    for planes in [[plane] for plane in range(samples)] if planar else [range(samples)]:
        for left, top, width, height in boxes:
            data = bytearray()
            for y in range(top, top + height):
                line = rows[min(y, HEIGHT - 1)]
                row = [line[min(x, WIDTH - 1) * samples + plane] for x in range(left, left + width) for plane in planes]
                if predictor == 2:
                    row = differences(row, len(planes), bits)
                data += packed(row, bits, order)
            data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if reverse else bytes(data)
            chunks.append(zlib.compress(data) if deflated else data)
    return tiff(tags, chunks, order, tiled)


def packed(row, bits, order):
    if bits == 16:
        return struct.pack(f"{order}{len(row)}H", *row)
    if bits == 8:
        return bytes(row)
    digits = "".join(f"{value:0{bits}b}" for value in row)
    digits += "0" * (-len(digits) % 8)
    return bytes(int(digits[at:at + 8], 2) for at in range(0, len(digits), 8))


def rows_of(image, bits=8):
    data, stride = image.tobytes(), len(image.getbands()) * WIDTH
    # The lower byte is noise, which must not show.
    widened = [value * 256 + at * 37 % 256 for at, value in enumerate(data)] if bits == 16 else list(data)
    return [widened[at:at + stride] for at in range(0, len(widened), stride)]


def with_samples(rows, samples, more):
    """The same with `more` further samples in each pixel."""
    def wide(row):
        return [v for at in range(0, len(row), samples) for v in (*row[at:at + samples], *((at * 7 + n * 90) % 256 for n in range(more)))]
    return [wide(row) for row in rows]


def over_white(image):
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255,) * 4), image).convert("RGB")


def jpegs(image, photometric, tiled, **options):
    """A file whose chunks are JPEGs with tables of their own."""
    samples = len(image.getbands())
    height = TILE if tiled else 16
    chunks = []
    for top in range(0, HEIGHT, height):
        for left in range(0, WIDTH, TILE if tiled else WIDTH):
            bottom = top + height if tiled else min(top + height, HEIGHT)
            tile = image.crop((left, top, left + (TILE if tiled else WIDTH), bottom))
            data = io.BytesIO()
            tile.save(data, "JPEG", quality=95, **options)
            chunks.append(data.getvalue())
    tags = {
        256: (LONG, [WIDTH]), 257: (LONG, [HEIGHT]), 258: (SHORT, [8] * samples), 259: (SHORT, [7]),
        262: (SHORT, [photometric]), 277: (SHORT, [samples]),
    }
    if photometric == 6:
        tags[530] = (SHORT, [2, 2])
    tags |= {322: (SHORT, [TILE]), 323: (SHORT, [TILE])} if tiled else {278: (SHORT, [height])}
    return tiff(tags, chunks, tiled=tiled)


def saved(image, **options):
    data = io.BytesIO()
    image.save(data, "TIFF", **options)
    return data.getvalue()


def layouts():
    """Every way in which the same RGB picture can be laid out."""
    picture = ramp("RGB")
    for order in "<>":
        for bits in (8, 16):
            for tiled in (False, True):
                for planar in (False, True):
                    for deflated, predictor in ((False, 1), (True, 1), (True, 2)):
                        for more in (0, 1, 2):
                            rows = with_samples(rows_of(picture, bits), 3, more)
                            extra = [UNSPECIFIED] * more if more else None
                            name = f"RGB {order} {bits} tiled={tiled} planar={planar} {deflated} {predictor} +{more}"
                            yield name, laid_out(rows, 2, 3 + more, bits=bits, order=order, tiled=tiled, planar=planar,
                                                 deflated=deflated, predictor=predictor, extra=extra), picture


def colours():
    grey = ramp("L")
    for bits in (8, 16):
        yield f"grey {bits}", laid_out(rows_of(grey, bits), 1, 1, bits=bits), grey
        inverted = [[2**bits - 1 - value for value in row] for row in rows_of(grey, bits)]
        yield f"white is zero {bits}", laid_out(inverted, 0, 1, bits=bits, order=">"), grey
        for kind in (UNASSOCIATED, ASSOCIATED, UNSPECIFIED):
            for mode, photometric in (("LA", 1), ("RGBA", 2)):
                picture = ramp(mode)
                stored, shown = picture, over_white(picture)
                if kind == ASSOCIATED:
                    bands = list(picture.split())
                    alpha = bands.pop()
                    scaled = [Image.merge("LA", (band, alpha)).convert("La").getchannel(0) for band in bands]
                    stored = Image.merge(mode, (*scaled, alpha))
                if kind == UNSPECIFIED:
                    shown = picture.convert(mode[:-1])
                rows = rows_of(stored, bits)
                name = f"{mode} {bits} kind {kind}"
                yield name, laid_out(rows, photometric, len(mode), bits=bits, extra=[kind]), shown
                yield name + " planar tiles", laid_out(
                    rows, photometric, len(mode), bits=bits, extra=[kind], tiled=True, planar=True, deflated=True,
                    predictor=2), shown
        inks = ramp("CMYK")
        yield f"CMYK {bits}", laid_out(rows_of(inks, bits), 5, 4, bits=bits), inks
        more = with_samples(rows_of(inks, bits), 4, 1)
        yield f"CMYK {bits} +1", laid_out(more, 5, 5, bits=bits, extra=[UNSPECIFIED], tiled=True), inks
    yield "RGBA by number alone", laid_out(rows_of(ramp("RGBA")), 2, 4), over_white(ramp("RGBA"))
    for bits in (1, 2, 4, 8):
        most = 2**bits - 1
        rows = [[(x + y) // 3 % (most + 1) for x in range(WIDTH)] for y in range(HEIGHT)]
        values = bytes(value for row in rows for value in row)
        levels = Image.frombytes("L", (WIDTH, HEIGHT), bytes(value * 255 // most for value in values))
        colours = [(n * 255 // most, 255 - n * 200 // most, n * 90 // most) for n in range(most + 1)]
        shown = Image.frombytes("RGB", (WIDTH, HEIGHT), bytes(c for value in values for c in colours[value]))
        for shift, name in ((257, "palette"), (1, "palette of bytes")):
            table = {320: (SHORT, [colour[band] * shift for band in range(3) for colour in colours])}
            yield f"{name} {bits}", laid_out(rows, 3, 1, bits=bits, more=table), shown
        yield f"bits {bits}", laid_out(rows, 1, 1, bits=bits, order=">", deflated=True), levels
        yield f"reversed bits {bits}", laid_out(rows, 1, 1, bits=bits, reverse=True), levels
        yield f"tiled bits {bits}", laid_out(rows, 1, 1, bits=bits, tiled=True), levels


def compressed():
    rgb, grey = ramp("RGB"), ramp("L")
    large = rgb.resize((700, 500), Image.BICUBIC)
    for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg"):
        yield f"{name} by libtiff", saved(large, compression=name)
    for mode in ("L", "CMYK", "RGBA"):
        yield f"lzw {mode}", saved(ramp(mode), compression="tiff_lzw")
    yield "lzw, differences", saved(large, compression="tiff_lzw", tiffinfo={317: 2})
    bilevel = large.convert("L").point(lambda value: 255 * (value // 32 % 2)).convert("1")
    yield "group 4", saved(bilevel, compression="group4")
    yield "group 4, reversed", saved(bilevel, compression="group4", tiffinfo={266: 2})
    for tiled in (False, True):
        yield f"JPEG, YCbCr {tiled}", jpegs(rgb, 6, tiled)
        yield f"JPEG, RGB {tiled}", jpegs(rgb, 2, tiled, keep_rgb=True)
        yield f"JPEG, grey {tiled}", jpegs(grey, 1, tiled)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "profile", saved(rgb, icc_profile=profile)


def files():
    for kind in (layouts, colours, compressed):
        yield from kind()
