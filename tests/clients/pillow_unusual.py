"""Holds unusual JPEGs, and orientations where only some writers put them, against Pillow's reading of them.

    pillow_unusual.py URL QUALITY

Prints what pillow_pictures.py prints. Every file is made here.
"""

import io
import json
import struct
import sys

import httpx
from PIL import Image, PngImagePlugin

from pillow_pictures import judge

SOI = b"\xff\xd8"
EOI = b"\xff\xd9"


def card(mode="RGB"):
    """Four quadrants with ramps in them, so that every orientation looks different."""
    card = Image.new("RGB", (104, 72), (255, 255, 255))
    for at, colour in (((0, 0), (220, 30, 30)), ((52, 0), (30, 200, 30)), ((0, 36), (30, 30, 220))):
        card.paste(colour, (*at, at[0] + 52, at[1] + 36))
    ramp = Image.linear_gradient("L").resize(card.size)
    return Image.blend(card, ramp.convert("RGB"), 0.3).convert(mode)


def saved(image, kind="JPEG", **options):
    file = io.BytesIO()
    options |= {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    image.save(file, kind, **options)
    return file.getvalue()


def segment(marker, payload):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def padded(jpeg, padding, before_end):
    """`padding` before each restart marker, and before the end."""
    scan = jpeg.index(b"\xff\xda")
    head, data = jpeg[:scan], jpeg[scan:-2]
    assert b"\xff\xd0" in data
    for number in range(8):
        marker = bytes([0xFF, 0xD0 + number])
        data = data.replace(marker, padding + marker)
    return head + data + (padding if before_end else b"") + EOI


def restarts():
    for name, image, sampling in (("4:2:0", card(), 2), ("4:2:2", card(), 1), ("4:4:4", card(), 0), ("grey", card("L"), 0)):
        for interval in (1, 3):
            jpeg = saved(image, subsampling=sampling, restart_marker_blocks=interval)
            for padding in (b"\0", b"\0\0", b"\0" * 40, b"\xff\0\xff\0"):
                for before_end in (False, True):
                    yield f"{padding!r} before restarts of {name} / {interval}", padded(jpeg, padding, before_end), None


def adobe_transforms():
    plain = saved(card())
    # In place of JFIF's segment, which decides where it is there.
    assert plain[2:4] == b"\xff\xe0"
    length = int.from_bytes(plain[4:6], "big")
    for transform in (0, 1, 2, 3, 255):
        adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
        yield f"Adobe transform {transform} of three", SOI + adobe + plain[4 + length :], None
    inks = saved(card("CMYK"))
    at = inks.index(b"Adobe") + 11
    for transform in (0, 1, 2, 3):
        yield f"Adobe transform {transform} of four", inks[:at] + bytes([transform]) + inks[at + 1 :], None


def without_end():
    for name, options in (("progressive", {"progressive": True}), ("sequential", {}), ("restarts", {"restart_marker_blocks": 5})):
        for image in (card(), card("L"), card("CMYK")):
            whole = saved(image, **options)
            assert whole.endswith(EOI)
            # Pillow wants the end.
            yield f"{name} {image.mode} without end", whole[:-2], whole


def lossless(image, predictor):
    """The first lossless process (T.81 annex H) of a grey picture."""
    width, height = image.size
    rows = [image.crop((0, y, width, y + 1)).tobytes() for y in range(height)]
    bits = []
    for y, row in enumerate(rows):
        for x, sample in enumerate(row):
            above, left = rows[y - 1][x], row[x - 1]
            if y == 0:
                guess = 128 if x == 0 else left
            else:
                guess = above if x == 0 else {1: left, 2: above, 7: (left + above) // 2}[predictor]
            difference = sample - guess
            size = abs(difference).bit_length()
            # Codes of four bits for the sizes 0 to 8.
            bits.append(f"{size:04b}")
            if size:
                bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    bits = "".join(bits)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    table = segment(0xC4, bytes([0, 0, 0, 0, 9] + [0] * 12) + bytes(range(9)))
    return SOI + frame + table + segment(0xDA, bytes([1, 1, 0, predictor, 0, 0])) + data + EOI


def lossless_grey():
    for predictor in (1, 2, 7):
        yield f"lossless grey by predictor {predictor}", lossless(card("L"), predictor), None


def exif_block(order, kind, value):
    """IFD0 with an orientation of that type."""
    size = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4}[kind]
    number = {"B": 1, "H": 3, "I": 4, "b": 6, "h": 8, "i": 9}[kind]
    field = struct.pack(order + kind, value) + bytes(4 - size)
    header = b"II*\0" if order == "<" else b"MM\0*"
    return header + struct.pack(order + "IHHHI", 8, 1, 0x0112, number, 1) + field + bytes(4)


def png_with(png, kind, data):
    """A PNG with a chunk after its header, whose checksum nobody looks at."""
    import zlib

    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def webp_with(image, **options):
    return saved(image, "WEBP", **options)


def exif_types():
    jpeg, png = saved(card()), saved(card(), "PNG")
    for order in "<>":
        for kind in "BHIbhi":
            for value in (3, 6):
                exif = exif_block(order, kind, value)
                name = f"{value} as {kind} in order {order}"
                # For Pillow as SHORT, which every version of it reads.
                usual = exif_block(order, "H", value)
                make = lambda exif: jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif) + jpeg[2:]
                yield "JPEG " + name, make(exif), make(usual)
                yield "PNG " + name, png_with(png, b"eXIf", exif), png_with(png, b"eXIf", usual)
                yield "WebP " + name, webp_with(card(), exif=exif), webp_with(card(), exif=usual)


def tiff(order, kind, value):
    """An uncompressed TIFF of one strip. Without a `kind` the orientation is in XMP alone."""
    image = card()
    pixels = image.tobytes()
    xmp = packet(value, True) if kind is None else b""
    number = {"B": 1, "H": 3, "I": 4}
    entries = [(256, "H", image.width), (257, "H", image.height), (258, "H", 8), (259, "H", 1), (262, "H", 2)]
    count = 10
    depths = 8 + 2 + 12 * count + 4
    start = depths + 6
    entries += [(273, "I", start), (274, kind or "H", value)] if kind else [(273, "I", start)]
    entries += [(277, "H", 3), (278, "H", image.height), (279, "I", len(pixels))]
    if kind is None:
        entries.append((700, None, start + len(pixels)))
    assert len(entries) == count
    body = b""
    for tag, of, number_or_offset in entries:
        if of is None:
            body += struct.pack(order + "HHII", tag, 1, len(xmp), number_or_offset)
            continue
        size = struct.calcsize(of)
        if tag == 258:
            body += struct.pack(order + "HHII", tag, number[of], 3, depths)
            continue
        body += struct.pack(order + "HHI", tag, number[of], 1)
        body += struct.pack(order + of, number_or_offset) + bytes(4 - size)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return header + struct.pack(order + "H", count) + body + bytes(4) + struct.pack(order + "HHH", 8, 8, 8) + pixels + xmp


def packet(value, is_attribute, quote='"', prefix="tiff"):
    bound = f"xmlns:{prefix}={quote}http://ns.adobe.com/tiff/1.0/{quote}"
    attribute = f" {prefix}:Orientation={quote}{value}{quote}" if is_attribute else ""
    element = "" if is_attribute else f"<{prefix}:Orientation>{value}</{prefix}:Orientation>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {bound}{attribute}>{element}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def with_xmp(kind, xmp, exif=None):
    options = {"exif": exif} if exif else {}
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return saved(card(), "PNG", pnginfo=info, **options)
    return saved(card(), kind, xmp=xmp, **options)


def xmp_alone():
    for kind in ("JPEG", "PNG", "WEBP"):
        for value in range(1, 9):
            for is_attribute in (True, False):
                where = "attribute" if is_attribute else "element"
                yield f"{kind} {value} as {where} of XMP", with_xmp(kind, packet(value, is_attribute)), None
        # Pillow looks for the usual prefix and quotes.
        for quote, prefix in (("'", "tiff"), ('"', "t")):
            other = with_xmp(kind, packet(6, True, quote, prefix))
            yield f"{kind} with prefix {prefix} and {quote}", other, with_xmp(kind, packet(6, True))
        # EXIF goes first, even if it says that nothing is to be done.
        exif = Image.Exif()
        exif[0x0112] = 1
        yield f"{kind} with 1 in EXIF and 6 in XMP", with_xmp(kind, packet(6, True), exif), None
        exif[0x0112] = 8
        yield f"{kind} with 8 in EXIF and 6 in XMP", with_xmp(kind, packet(6, True), exif), None
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        yield f"{kind} with XMP and no orientation in EXIF", with_xmp(kind, packet(6, True), exif), None


def tiffs():
    for order in "<>":
        for value in (3, 6):
            for kind in "BHI":
                yield f"TIFF {value} as {kind} in order {order}", tiff(order, kind, value), tiff(order, "H", value)
            yield f"TIFF {value} in XMP in order {order}", tiff(order, None, value), tiff(order, "H", value)


CASES = (restarts, adobe_transforms, without_end, lossless_grey, exif_types, xmp_alone, tiffs)

with httpx.Client(base_url=sys.argv[1], timeout=120) as http:
    files = [file for case in CASES for file in case()]
    print(json.dumps([judge(http, name, source, readable) for name, source, readable in files]))
