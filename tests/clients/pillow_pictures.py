"""Holds pictures of a running server against Pillow's and LittleCMS's.

    pillow_pictures.py URL QUALITY CORPUS     every file of the corpus that is to be accepted
    pillow_pictures.py URL QUALITY            a card in all eight orientations, in all formats that carry one
    pillow_pictures.py URL QUALITY tiff       a TIFF of every kind

Prints a JSON list of {"name", "psnr", "delta_e"}: the PSNR in dB against Pillow's picture (decoded, upright, in sRGB by
LittleCMS, over white, resized by LANCZOS, and a JPEG of the server's QUALITY as well), and the mean CIEDE2000 where the
file has a profile. Null where Pillow cannot read the file. Of a TIFF that was laid out here the picture is known.
"""

import csv
import io
import json
import math
import os
import sys
import warnings

import httpx
import tiff_files
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

Image.MAX_IMAGE_PIXELS = None
warnings.simplefilter("ignore")
SRGB = ImageCms.createProfile("sRGB")
MAX_DIM = 1600
SAMPLES = 3000


def reference(source):
    image = Image.open(io.BytesIO(source))
    profile = image.info.get("icc_profile")
    # Pillow gives a value of type BYTE as bytes, which it does not take for an orientation. A number of any type is one here.
    exif = image.getexif()
    orientation = exif.get(0x0112)
    if isinstance(orientation, bytes) and len(orientation) == 1:
        exif[0x0112] = orientation[0]
    return finished(ImageOps.exif_transpose(image), profile)


def finished(image, profile):
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255,) * 4), image).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        try:
            image = ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB")
        except ImageCms.PyCMSError:
            profile = None
    image = image.convert("RGB")
    if max(image.size) > MAX_DIM:
        scale = MAX_DIM / max(image.size)
        image = image.resize([max(1, round(side * scale)) for side in image.size], Image.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(sys.argv[2]))
    return Image.open(file).convert("RGB"), bool(profile)


def psnr(a, b):
    mean_square = sum(ImageStat.Stat(ImageChops.difference(a, b)).sum2) / (3 * a.width * a.height)
    return 99.0 if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def lab(pixel):
    """CIE L*a*b* of an sRGB pixel (IEC 61966-2-1, D65)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in pixel)]
    rows = ((0.4124, 0.3576, 0.1805, 0.95047), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.08883))
    x, y, z = (sum(m * c for m, c in zip(row, linear)) / row[3] for row in rows)
    x, y, z = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one, two):
    """CIE 142-2001, in the notation of Sharma, Wu and Dalal (2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    c7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 1.5 - 0.5 * math.sqrt(c7 / (c7 + 25**7))
    a1, a2 = a1 * g, a2 * g
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = 0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    mean_h = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    cos = lambda degrees: math.cos(math.radians(degrees))
    t = 1 - 0.17 * cos(mean_h - 30) + 0.24 * cos(2 * mean_h) + 0.32 * cos(3 * mean_h + 6) - 0.2 * cos(4 * mean_h - 63)
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / math.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    c7 = mean_c**7
    rotation = -2 * math.sqrt(c7 / (c7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((mean_h - 275) / 25) ** 2))))
    d_l, d_c = (l2 - l1) / s_l, (c2 - c1) / s_c
    d_h = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / s_h
    return math.sqrt(d_l**2 + d_c**2 + d_h**2 + rotation * d_c * d_h)


def delta_e(a, b):
    step = max(1, a.width * a.height // SAMPLES)
    places = [(n % a.width, n // a.width) for n in range(0, a.width * a.height, step)]
    return sum(ciede2000(lab(a.getpixel(at)), lab(b.getpixel(at))) for at in places) / len(places)


def judge(client, name, source, picture=None, readable=None):
    """`picture` is what is in the file, where it is known. `readable` is the file for Pillow, where it does not read the source."""
    answer = client.post("/api/v1/ingest/upload", files={"files": ("photo", source)})
    if answer.status_code != 201:
        raise SystemExit(f"{name}: {answer.status_code} {answer.text}")
    stored = client.get(answer.json()["photos"][0]["media"]["url"]).content
    made = Image.open(io.BytesIO(stored)).convert("RGB")
    try:
        expected, has_profile = finished(picture, None) if picture else reference(readable or source)
    except (OSError, ValueError):
        return {"name": name, "psnr": None, "delta_e": None}
    if expected.size != made.size:
        raise SystemExit(f"{name}: {made.size}, and Pillow's is {expected.size}")
    colour = delta_e(expected, made) if has_profile else None
    return {"name": name, "psnr": psnr(expected, made), "delta_e": colour}


def corpus(directory):
    with open(os.path.join(directory, "MANIFEST.tsv"), encoding="utf-8") as manifest:
        rows = csv.DictReader(manifest, delimiter="\t")
        paths = [row["path"] for row in rows if row["expected"] == "accept"]
    for path in paths:
        with open(os.path.join(directory, path), "rb") as file:
            yield path, file.read()


def cards():
    card = Image.new("RGB", (96, 64), (255, 255, 255))
    for at, colour in (((0, 0), (255, 0, 0)), ((48, 0), (0, 255, 0)), ((0, 32), (0, 0, 255))):
        card.paste(colour, (*at, at[0] + 48, at[1] + 32))
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            file = io.BytesIO()
            options = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
            options |= {"quality": 95} if kind in ("JPEG", "WEBP") else {}
            card.save(file, kind, **options)
            yield f"{kind} {orientation}", file.getvalue()


if __name__ == "__main__":
    with httpx.Client(base_url=sys.argv[1], timeout=120) as http:
        match sys.argv[3:]:
            case ["tiff"]:
                files = tiff_files.files()
            case [directory]:
                files = corpus(directory)
            case _:
                files = cards()
        print(json.dumps([judge(http, *file) for file in files]))
