"""Makes the photos that the corpus lacks from those that it has.

A recipe is a JSON object. What is not in this list is an argument of Pillow's `save`, or of pillow-heif's:

cut          left, top, width and height in the pixels of the source, before it is turned upright
size         width and height to which the cut is resized
screen       true: a screenshot with text, in which the cut is a picture
alpha        true: transparent outside an ellipse with a soft edge
profile      true: the colour profile of the source is kept. Without it the same pixels are sRGB
orientation  EXIF orientation
tile         an HEIC grid with tiles of this side, as phones write it
turns        quarter turns to the left (`irot`) of a grid
deep         true: an HEIC of 10 bits in one piece
"""

import io
import struct
from array import array

import pillow_heif
from PIL import Image, ImageDraw, ImageFilter, ImageFont

pillow_heif.register_heif_opener()


def derive(source, recipe, target):
    source = Image.open(source)
    left, top, width, height = recipe.pop("cut")
    im = source.convert("RGB").crop((left, top, left + width, top + height))
    if size := recipe.pop("size", None):
        im = im.resize(size, Image.LANCZOS)
    if recipe.pop("screen", False):
        im = screen(im)
    if recipe.pop("alpha", False):
        im = sticker(im)
    profile = source.info.get("icc_profile") if recipe.pop("profile", False) else None
    # Only what the recipe says.
    im.info.clear()
    if "tile" in recipe:
        with open(target, "wb") as file:
            file.write(grid(im, profile, **recipe))
    elif recipe.pop("deep", False):
        samples = array("H", (257 * sample for sample in im.tobytes())).tobytes()
        pillow_heif.from_bytes(mode="RGB;16", size=im.size, data=samples).save(target, **recipe)
    else:
        exif = Image.Exif()
        if orientation := recipe.pop("orientation", None):
            exif[0x0112] = orientation
        im.save(target, exif=exif, icc_profile=profile, **recipe)


def sticker(im):
    mask = Image.new("L", im.size)
    ImageDraw.Draw(mask).ellipse((8, 8, im.width - 8, im.height - 8), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(3))
    # Editors write one colour where nothing is visible.
    cut = Image.composite(im, Image.new("RGB", im.size, "white"), mask.point(lambda opacity: 255 if opacity else 0))
    cut.putalpha(mask)
    return cut


def screen(picture):
    im = Image.new("RGB", (1290, 2796), "#f2f2f7")
    draw = ImageDraw.Draw(im)
    small, large = ImageFont.load_default(38), ImageFont.load_default(64)
    draw.text((60, 150), "Messages", font=large, fill="black")
    im.paste(picture.resize((1170, 878), Image.LANCZOS), (60, 280))
    words = "vintage jacket size M hardly worn no stains pick up in Lisbon or by post".split()
    for line in range(22):
        x, y, is_mine = 60 + 300 * (line % 5 == 4), 1210 + 68 * line, line % 5 == 4
        draw.rounded_rectangle((x, y, x + 900, y + 60), 24, fill="#0a84ff" if is_mine else "white")
        text = " ".join(words[(3 * line + n) % len(words)] for n in range(7))
        draw.text((x + 30, y + 6), text, font=small, fill="white" if is_mine else "#1c1c1e")
    return im


def grid(im, profile, tile, turns=0, **options):
    """pillow-heif codes the tiles; it cannot write a grid. The last tiles continue with the last row and column of pixels."""
    columns, rows = -(-im.width // tile), -(-im.height // tile)
    padded = Image.new("RGB", (columns * tile, rows * tile))
    padded.paste(im)
    if right := padded.width - im.width:
        padded.paste(im.crop((im.width - 1, 0, im.width, im.height)).resize((right, im.height)), (im.width, 0))
    if below := padded.height - im.height:
        last = padded.crop((0, im.height - 1, padded.width, im.height))
        padded.paste(last.resize((padded.width, below)), (0, im.height))
    configurations, tiles = set(), []
    for y in range(0, padded.height, tile):
        for x in range(0, padded.width, tile):
            coded = io.BytesIO()
            pillow_heif.from_pillow(padded.crop((x, y, x + tile, y + tile))).save(coded, **options)
            coded = coded.getvalue()
            configurations.add(payload(coded, b"meta", b"iprp", b"ipco", b"hvcC"))
            tiles.append(payload(coded, b"mdat"))
    (configuration,) = configurations
    return grid_file(tiles, configuration, (columns, rows, tile), im.size, profile, turns)


def grid_file(tiles, configuration, layout, size, profile, turns):
    """An HEIC file of which item 1 is the grid (ISO/IEC 23008-12 section 6.6.2.3) and the others are its tiles."""
    columns, rows, side = layout
    numbers = range(2, 2 + len(tiles))
    properties = [
        box(b"hvcC", configuration),
        box(b"ispe", struct.pack(">III", 0, side, side)),
        box(b"ispe", struct.pack(">III", 0, *size)),
        box(b"colr", b"prof" + profile if profile else b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80)),
        box(b"irot", bytes([turns])),
    ]
    # Number of associations, then the numbers of properties, with the top bit if a reader has to know them.
    of_grid, of_tile = b"\x03\x03\x04\x85", b"\x03\x81\x02\x04"
    descriptor = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def infe(number, kind):
        return box(b"infe", struct.pack(">BBHHH4s", 2, 0, 0, number, 0, kind) + b"\0")

    def meta(offset):
        places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(descriptor))
        for number, data in zip(numbers, tiles):
            places += struct.pack(">HHHHII", number, 0, 0, 1, offset, len(data))
            offset += len(data)
        count = struct.pack(">H", 1 + len(tiles))
        listed = infe(1, b"grid") + b"".join(infe(number, b"hvc1") for number in numbers)
        associated = b"".join(struct.pack(">H", number) + of_tile for number in numbers)
        ipma = struct.pack(">IIH", 0, 1 + len(tiles), 1) + of_grid + associated
        parts = [
            box(b"hdlr", struct.pack(">II4s12xx", 0, 0, b"pict")),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IBB", 1 << 24, 0x44, 0) + count + places),
            box(b"iinf", bytes(4) + count + listed),
            box(b"iprp", box(b"ipco", b"".join(properties)) + box(b"ipma", ipma)),
            box(b"idat", descriptor),
            box(b"iref", bytes(4) + box(b"dimg", struct.pack(f">HH{len(tiles)}H", 1, len(tiles), *numbers))),
        ]
        return box(b"meta", bytes(4) + b"".join(parts))

    # The offsets do not change the length.
    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", b"".join(tiles))


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def payload(data, *path):
    """The content of the first box of a kind in the first box of a kind ..."""
    start, end = 0, len(data)
    for kind in path:
        at = start
        while data[at + 4 : at + 8] != kind:
            at += struct.unpack(">I", data[at : at + 4])[0]
        start, end = at + 8 + 4 * (kind == b"meta"), at + struct.unpack(">I", data[at : at + 4])[0]
    return data[start:end]
