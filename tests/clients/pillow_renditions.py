"""Holds renditions of a running server against Pillow's LANCZOS of the stored photo.

    pillow_renditions.py URL CORPUS

Prints a JSON list of {"name", "psnr"}, one for each rendition of each photo of the corpus: the PSNR in dB against the
stored photo that Pillow decoded and resized, without another JPEG in between.
"""

import io
import json
import math
import os
import sys
import urllib.error
import urllib.request
import uuid

from PIL import Image, ImageChops, ImageStat


def upload(server, source):
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="p.jpg"\r\n\r\n'
    body = head.encode() + source + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(server + "/api/v1/ingest/upload", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["photos"][0]["media"]


def picture(url):
    with urllib.request.urlopen(url) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


def psnr(a, b):
    mean_square = sum(ImageStat.Stat(ImageChops.difference(a, b)).sum2) / (3 * a.width * a.height)
    return 99.0 if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


server, photos, judged = sys.argv[1], os.path.join(sys.argv[2], "photos"), []
for name in sorted(os.listdir(photos)):
    if not name.lower().endswith((".jpg", ".jpeg")):
        continue
    with open(os.path.join(photos, name), "rb") as file:
        try:
            media = upload(server, file.read())
        except urllib.error.HTTPError as refused:
            assert refused.code in (415, 422), name
            continue
    stored = picture(server + media["url"])
    for rendition in media["renditions"]:
        size = (rendition["width"], rendition["height"])
        made = picture(server + rendition["url"])
        assert made.size == size, (name, made.size, size)
        judged.append({"name": f"{name} {max(size)}", "psnr": psnr(made, stored.resize(size, Image.LANCZOS))})
print(json.dumps(judged))
