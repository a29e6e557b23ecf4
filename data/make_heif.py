#!/usr/bin/env python3
"""Makes data/heif/: small HEIC and AVIF files whose right decoding is known.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 pillow-heif==1.8.1
    venv/bin/python data/make_heif.py

All show the same card, four quadrants in reading order: red, green, blue, white.
"""
import struct
from array import array
from pathlib import Path

import pillow_heif
from PIL import ExifTags, Image

OUT = Path(__file__).parent / "heif"
WIDTH, HEIGHT = 64, 48


def card(width=WIDTH, height=HEIGHT):
    image = Image.new("RGB", (width, height), "white")
    for colour, x, y in (("#ff0000", 0, 0), ("#00ff00", 1, 0), ("#0000ff", 0, 1)):
        image.paste(colour, (x * width // 2, y * height // 2, (x + 1) * width // 2, (y + 1) * height // 2))
    return image


def transparent(image):
    """The card with its lower half invisible."""
    image = image.convert("RGBA")
    image.putalpha(Image.eval(image.getchannel("A"), lambda _: 255))
    image.paste((90, 60, 30, 0), (0, image.height // 2, image.width, image.height))
    return image


def heic(image, name, **options):
    options = {"quality": 90, "chroma": 420, "color_primaries": 1, "transfer_characteristics": 13} | options
    pillow_heif.from_pillow(image).save(OUT / name, **options)


def deep(image, name):
    """An image of 10 bits."""
    samples = array("H", (257 * sample for sample in image.tobytes())).tobytes()
    pillow_heif.from_bytes(mode="RGB;16", size=image.size, data=samples).save(OUT / name, quality=90, chroma=420)


def exif():
    """EXIF of a camera and a place, upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Card Maker"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2026:11:23 10:20:30", ExifTags.Base.ISOSpeedRatings: 400}
    exif[ExifTags.IFD.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "S",
        ExifTags.GPS.GPSLatitude: (33.0, 51.0, 35.5),
        ExifTags.GPS.GPSLongitudeRef: "E",
        ExifTags.GPS.GPSLongitude: (151.0, 12.0, 4.0),
    }
    return exif.tobytes()


def on_its_side(data):
    """The file with another orientation in its EXIF, behind the back of its writer, which would turn the picture instead."""
    upright, turned = (struct.pack(">HHIH", ExifTags.Base.Orientation, 3, 1, value) for value in (1, 6))
    assert data.count(upright) == 1
    return data.replace(upright, turned)


def boxes(data, start, end):
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, start, start + size
        start += size


def box(kind, payload):
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def find(data, *path):
    """Where the payload of a box lies."""
    start, end = 0, len(data)
    for kind in path:
        start, end = next((a + 8, b) for k, a, b in boxes(data, start, end) if k == kind)
        if kind == b"meta":
            start += 4
    return start, end


def with_properties(data, extra):
    """The file with more properties for its primary item, which is also its only one. The `meta` box grows, so what lies
    behind it moves."""
    properties_start, properties_end = find(data, b"meta", b"iprp", b"ipco")
    count = sum(1 for _ in boxes(data, properties_start, properties_end))
    association, _ = find(data, b"meta", b"iprp", b"ipma")
    # Full box header, entry count, then item id and association count of the only item.
    listed = association + 4 + 4 + 2
    known = data[listed + 1 : listed + 1 + data[listed]]
    added = bytes(0x80 | (count + n + 1) for n in range(len(extra)))
    ipma = data[association : association + 10] + bytes([len(known) + len(added)]) + known + added
    ipco = data[properties_start:properties_end] + b"".join(extra)
    meta, meta_end = find(data, b"meta")
    children = b""
    for kind, a, b in boxes(data, meta, meta_end):
        children += box(b"iprp", box(b"ipco", ipco) + box(b"ipma", ipma)) if kind == b"iprp" else data[a:b]
    grown = box(b"meta", data[meta - 4 : meta] + children)
    moved = len(grown) - (meta_end - meta + 12)
    result = bytearray(data[: meta - 12] + grown + data[meta_end:])
    # Offsets of 4 bytes, in a version without construction methods.
    location, _ = find(result, b"meta", b"iloc")
    assert result[location] == 0 and result[location + 4] >> 4 == 4 and result[location + 5] >> 4 in (0, 4)
    at = location + 8 + 4 + (result[location + 5] >> 4) + 2
    offset = struct.unpack(">I", result[at : at + 4])[0] + moved
    result[at : at + 4] = struct.pack(">I", offset)
    return bytes(result)


def item(number, kind):
    return box(b"infe", struct.pack(">BBHHH4s", 2, 0, 0, number, 0, kind) + b"\0")


def grid(tile, columns, rows, width, height):
    """A grid of copies of the only image of a file; all tiles share its data."""
    start, end = find(tile, b"meta", b"iprp", b"ipco")
    properties = {kind: tile[a:b] for kind, a, b in boxes(tile, start, end)}
    own = [properties[b"hvcC"], properties[b"ispe"], box(b"ispe", struct.pack(">III", 0, width, height))]
    tiles = range(1, columns * rows + 1)
    whole = columns * rows + 1
    data_start, data_end = find(tile, b"mdat")
    coded = tile[data_start:data_end]
    descriptor = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(offset):
        places = b"".join(struct.pack(">HHHHII", n, 0, 0, 1, offset, len(coded)) for n in tiles)
        places += struct.pack(">HHHHII", whole, 1, 0, 1, 0, len(descriptor))
        listed = b"".join(item(n, b"hvc1") for n in tiles) + item(whole, b"grid")
        associated = b"".join(struct.pack(">HBBB", n, 2, 0x81, 0x02) for n in tiles)
        associated += struct.pack(">HBB", whole, 1, 0x03)
        made_of = struct.pack(f">HH{len(tiles)}H", whole, len(tiles), *tiles)
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", struct.pack(">II4s12xx", 0, 0, b"pict"))
            + box(b"pitm", struct.pack(">IH", 0, whole))
            + box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, whole) + places)
            + box(b"iinf", struct.pack(">IH", 0, whole) + listed)
            + box(
                b"iprp",
                box(b"ipco", b"".join(own)) + box(b"ipma", struct.pack(">II", 0, whole) + associated),
            )
            + box(b"idat", descriptor)
            + box(b"iref", bytes(4) + box(b"dimg", made_of)),
        )

    offset = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(offset) + box(b"mdat", coded)


def transparent_grid(tile, columns, rows, side):
    """A grid of copies of the only picture of a file and of its alpha picture: each tile refers to an alpha item of its
    own, and the grid has none."""
    start, end = find(tile, b"meta", b"iprp", b"ipco")
    properties = [tile[a:b] for _, a, b in boxes(tile, start, end)]
    association, _ = find(tile, b"meta", b"iprp", b"ipma")
    at, associated = association + 8, {}
    for _ in range(struct.unpack(">I", tile[association + 4 : at])[0]):
        number, count = struct.unpack(">HB", tile[at : at + 3])
        associated[number] = tile[at + 3 : at + 3 + count]
        at += 3 + count
    location, _ = find(tile, b"meta", b"iloc")
    version, sizes, more = tile[location], tile[location + 4], tile[location + 5]
    assert sizes == 0x44 and more in (0x00, 0x40), "offsets and lengths of four bytes"
    at, coded = location + 8, []
    for _ in range(struct.unpack(">H", tile[location + 6 : at])[0]):
        at += (4 if version else 2) + 2
        base = int.from_bytes(tile[at : at + (more >> 4)], "big")
        at += more >> 4
        count, offset, length = struct.unpack(">HII", tile[at : at + 10])
        assert count == 1
        coded.append(tile[base + offset : base + offset + length])
        at += 10
    colour, alpha = sorted(associated)
    tiles = range(1, columns * rows + 1)
    alphas = range(len(tiles) + 1, 2 * len(tiles) + 1)
    whole = 2 * len(tiles) + 1
    width, height = columns * side, rows * side
    properties.append(box(b"ispe", struct.pack(">III", 0, width, height)))
    descriptor = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(offset):
        places = b"".join(struct.pack(">HHHHII", n, 0, 0, 1, offset, len(coded[0])) for n in tiles)
        places += b"".join(struct.pack(">HHHHII", n, 0, 0, 1, offset + len(coded[0]), len(coded[1])) for n in alphas)
        places += struct.pack(">HHHHII", whole, 1, 0, 1, 0, len(descriptor))
        listed = b"".join(item(n, b"hvc1") for n in [*tiles, *alphas]) + item(whole, b"grid")
        said = b"".join(struct.pack(">HB", n, len(associated[colour])) + associated[colour] for n in tiles)
        said += b"".join(struct.pack(">HB", n, len(associated[alpha])) + associated[alpha] for n in alphas)
        said += struct.pack(">HBB", whole, 1, len(properties))
        references = box(b"dimg", struct.pack(f">HH{len(tiles)}H", whole, len(tiles), *tiles))
        references += b"".join(box(b"auxl", struct.pack(">HHH", a, 1, n)) for n, a in zip(tiles, alphas))
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", struct.pack(">II4s12xx", 0, 0, b"pict"))
            + box(b"pitm", struct.pack(">IH", 0, whole))
            + box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, whole) + places)
            + box(b"iinf", struct.pack(">IH", 0, whole) + listed)
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties)) + box(b"ipma", struct.pack(">II", 0, whole) + said),
            )
            + box(b"idat", descriptor)
            + box(b"iref", bytes(4) + references),
        )

    offset = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(offset) + box(b"mdat", b"".join(coded))


def without_primary_item(data):
    """The file with a free box in place of the one that names its primary item."""
    assert data.count(b"pitm") == 1
    return data.replace(b"pitm", b"free")


def main():
    OUT.mkdir(exist_ok=True)
    heic(card(), "plain.heic")
    plain = (OUT / "plain.heic").read_bytes()
    # All eight ways to lie, so that the turned picture is the card: the stored one is turned the other way first.
    undo = {
        (0, None): (),
        (1, None): (Image.Transpose.ROTATE_270,),
        (2, None): (Image.Transpose.ROTATE_180,),
        (3, None): (Image.Transpose.ROTATE_90,),
        (0, 0): (Image.Transpose.FLIP_TOP_BOTTOM,),
        (0, 1): (Image.Transpose.FLIP_LEFT_RIGHT,),
        (1, 0): (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_270),
        (1, 1): (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_270),
    }
    for (turn, mirror), steps in undo.items():
        stored = card()
        for step in steps:
            stored = stored.transpose(step)
        heic(stored, "stored.tmp.heic")
        properties = [box(b"irot", bytes([turn]))] if turn else []
        properties += [box(b"imir", bytes([mirror]))] if mirror is not None else []
        name = f"turn{turn}_mirror{'' if mirror is None else mirror}.heic"
        stored = (OUT / "stored.tmp.heic").read_bytes()
        (OUT / name).write_bytes(with_properties(stored, properties) if properties else stored)
    (OUT / "stored.tmp.heic").unlink()
    (OUT / "plain.heic").unlink()
    heic(card(65, 49), "odd_clap.heic")
    heic(card(), "limited.heic", full_range_flag=0, matrix_coefficients=1)
    heic(card(), "p3.heic", color_primaries=12)
    heic(card().convert("L"), "grey.heic")
    heic(transparent(card()), "alpha.heic")
    heic(card(64, 64), "tile.tmp.heic")
    tile = (OUT / "tile.tmp.heic").read_bytes()
    (OUT / "tile.tmp.heic").unlink()
    (OUT / "grid.heic").write_bytes(grid(tile, 3, 2, 150, 120))
    heic(transparent(card(64, 64)), "tile.tmp.heic")
    (OUT / "grid_alpha.heic").write_bytes(transparent_grid((OUT / "tile.tmp.heic").read_bytes(), 2, 1, 64))
    read = pillow_heif.open_heif(OUT / "grid_alpha.heic", convert_hdr_to_8bit=True).to_pillow()
    # The reader that the tests are compared with agrees that each tile has its opacity.
    assert read.mode == "RGBA" and [read.getpixel((x, 60))[3] for x in (10, 74)] == [0, 0]
    assert [read.getpixel((x, 10))[3] for x in (10, 74)] == [255, 255]
    (OUT / "tile.tmp.heic").unlink()
    deep(card(), "deep.heic")
    # What cameras write in one piece: 32.7 megapixels of 10 bits, and 20 of 8 bits in full chroma.
    deep(card(7008, 4672), "whole_33mp.heic")
    card(5472, 3648).save(OUT / "whole_20mp.avif", quality=50, subsampling="4:4:4", speed=10)
    for subsampling in ("4:2:0", "4:2:2", "4:4:4", "4:0:0"):
        card().save(OUT / f"{subsampling.replace(':', '')}.avif", quality=90, subsampling=subsampling)
    card().save(OUT / "limited.avif", quality=90, range="limited")
    transparent(card()).save(OUT / "alpha.avif", quality=90)
    transparent(card()).save(OUT / "premultiplied.avif", quality=90, alpha_premultiplied=True)
    heic(card(), "exif.heic", exif=exif())
    (OUT / "exif.heic").write_bytes(on_its_side((OUT / "exif.heic").read_bytes()))
    # Pillow takes the orientation out of it.
    card().save(OUT / "exif.avif", quality=90, exif=exif())
    card().save(OUT / "film.avif", quality=90, save_all=True, append_images=[card().rotate(180)])
    (OUT / "film_alone.avif").write_bytes(without_primary_item((OUT / "film.avif").read_bytes()))


if __name__ == "__main__":
    main()
