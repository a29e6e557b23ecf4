"""Makes the photos that are derived, the reference pictures, and from each output the pixels that a viewer would show.

One line of answer for one line of tab-separated words:

derive     SOURCE LEFT TOP WIDTH HEIGHT QUALITY SUBSAMPLING ORIENTATION TARGET
           a cut of a photo, encoded again ("4:2:0"), without its profile
reference  SOURCE WIDTH HEIGHT TARGET
           decoded whole, turned upright, converted to sRGB where the profile says something else, Lanczos to this size
picture    JPEG SOURCE PROFILE TARGET
           an output's pixels; where PROFILE is "ignored", the source's profile is applied now, so that a peer that
           dropped it is judged by its resampling and encoding and not by its colours

Pictures are written as PPM. The answer is their width and height.
"""

import io
import sys

from PIL import Image, ImageCms, ImageOps

Image.MAX_IMAGE_PIXELS = 200_000_000
SRGB = ImageCms.createProfile("sRGB")


def to_srgb(im, profile):
    if not profile:
        return im
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(im, source, SRGB, outputMode="RGB")


def derive(source, left, top, width, height, quality, subsampling, orientation, target):
    left, top = int(left), int(top)
    im = Image.open(source).convert("RGB").crop((left, top, left + int(width), top + int(height)))
    exif = Image.Exif()
    exif[0x0112] = int(orientation)
    im.save(target, format="JPEG", quality=int(quality), subsampling=subsampling, exif=exif, icc_profile=None)
    return im


def reference(source, width, height, target):
    im = ImageOps.exif_transpose(Image.open(source))
    profile = im.info.get("icc_profile")
    im = to_srgb(im.convert("RGB"), profile).resize((int(width), int(height)), Image.LANCZOS)
    im.save(target, format="PPM")
    return im


def picture(jpeg, source, profile, target):
    im = Image.open(jpeg)
    own = im.info.get("icc_profile")
    if not own and profile == "ignored":
        own = Image.open(source).info.get("icc_profile")
    im = to_srgb(im.convert("RGB"), own)
    im.save(target, format="PPM")
    return im


for line in sys.stdin:
    command, *words = line.rstrip("\n").split("\t")
    im = {"derive": derive, "reference": reference, "picture": picture}[command](*words)
    print(*im.size, flush=True)
