"""Uploads photos with httpx, over HTTP/1.1 and over HTTP/2 with prior knowledge: of known length, and in chunks."""
import json
import sys

import httpx

url, *paths = sys.argv[1:]
drafts = []
for http2 in (False, True):
    with httpx.Client(http1=not http2, http2=http2, timeout=60) as client:
        files = [("files", (path.rsplit("/", 1)[-1], open(path, "rb").read(), "image/jpeg")) for path in paths]
        request = client.build_request("POST", url, files=files, data={"title": "same"})
        body, content_type = request.read(), request.headers["Content-Type"]
        pieces = (body[at : at + 5000] for at in range(0, len(body), 5000))
        for response in (
            client.send(request),
            client.post(url, content=pieces, headers={"Content-Type": content_type}),
        ):
            assert response.status_code == 201, response.text
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            drafts.append(response.json())
print(json.dumps(drafts))
