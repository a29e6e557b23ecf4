"""Makes the photos that are derived, the reference pictures, and from each output the pixels that a viewer would show.

One line of answer for one line of tab-separated words:

describe   PATH
           format, width, height and kind of a photo, such as "jpeg 4032 3024 4:2:0"
derive     SOURCE RECIPE TARGET
           a photo that the corpus lacks; see derive.py
reference  SOURCE WIDTH HEIGHT ALPHA TARGET
           decoded whole, turned upright, converted to sRGB where the profile says something else, Lanczos to this size
picture    JPEG SOURCE PROFILE TARGET
           an output's pixels; where PROFILE is "ignored", the source's profile is applied now, so that a peer that
           dropped it is judged by its resampling and encoding and not by its colours

Where ALPHA is "dropped", the reference shows the colours of transparent pixels as the peer does, otherwise a white background.
Pictures are written as PPM. The answer is their width and height.
"""

import io
import json
import sys

from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from derive import derive

Image.MAX_IMAGE_PIXELS = 200_000_000
SRGB = ImageCms.createProfile("sRGB")
SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


def to_srgb(im, profile):
    if not profile:
        return im
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(im, source, SRGB, outputMode="RGB")


def to_rgb(im, alpha):
    if not im.has_transparency_data or alpha == "dropped":
        return im.convert("RGB")
    im = im.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", im.size, "white"), im).convert("RGB")


def is_p3(profile):
    if not profile:
        return False
    return "P3" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))


def describe(path):
    im = Image.open(path)
    kind, name = im.mode, im.format.lower()
    if im.format in ("JPEG", "MPO"):
        name = "p3" if is_p3(im.info.get("icc_profile")) else "jpeg"
        name = "progressive" if im.info.get("progressive") else name
        kind = SAMPLINGS.get(JpegImagePlugin.get_sampling(im), "other") if len(im.getbands()) > 1 else "grey"
    elif im.format == "HEIF":
        name, chroma = "heic", ":".join(str(im.info["chroma"]))
        kind = f"{chroma}, {im.info['bit_depth']} bits, {'tiles' if im.info.get('tiling') else 'one piece'}"
    elif im.format == "WEBP":
        with open(path, "rb") as file:
            kind = f"{'lossless' if b'VP8L' in file.read() else 'lossy'}, {im.mode}"
    if name in ("png", "webp") and is_p3(im.info.get("icc_profile")):
        kind += ", P3"
    return [name, *im.size, kind]


def reference(source, width, height, alpha, target):
    im = ImageOps.exif_transpose(Image.open(source))
    profile = im.info.get("icc_profile")
    im = to_srgb(to_rgb(im, alpha), profile).resize((int(width), int(height)), Image.LANCZOS)
    im.save(target, format="PPM")
    return im.size


def picture(jpeg, source, profile, target):
    im = Image.open(jpeg)
    own = im.info.get("icc_profile")
    if not own and profile == "ignored":
        own = Image.open(source).info.get("icc_profile")
    im = to_srgb(im.convert("RGB"), own)
    im.save(target, format="PPM")
    return im.size


def answer(command, *words):
    if command == "derive":
        source, recipe, target = words
        derive(source, json.loads(recipe), target)
        return ["derived"]
    return {"describe": describe, "reference": reference, "picture": picture}[command](*words)


for line in sys.stdin:
    print(*answer(*line.rstrip("\n").split("\t")), sep="\t", flush=True)
