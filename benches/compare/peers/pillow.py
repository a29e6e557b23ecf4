"""Pillow, called exactly as the backend did that this server replaces. pillow-heif reads HEIC for it, and it reads AVIF itself."""

import io

import PIL
import pillow_heif
from PIL import Image, ImageOps, features

import protocol

Image.MAX_IMAGE_PIXELS = 200_000_000
pillow_heif.register_heif_opener()


def process(raw):
    im = ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).convert("RGB")
    w, h = im.size
    if max(w, h) > 1600:
        s = 1600 / max(w, h)
        im = im.resize((max(1, int(w * s)), max(1, int(h * s))), Image.LANCZOS)
    out = io.BytesIO()
    im.save(out, format="JPEG", quality=80, optimize=True)
    return out.getvalue()


libraries = f"libjpeg-turbo {features.version('libjpeg_turbo')}, pillow-heif {pillow_heif.__version__}"
protocol.serve(
    {"name": "Pillow", "version": f"{PIL.__version__} ({libraries})", "profile": "ignored", "alpha": "dropped"}, process
)
