"""Uploads photos with requests: as a form of known length, and as a generator, which goes out in chunks."""
import json
import sys

import requests

url, *paths = sys.argv[1:]


def form():
    files = [("files", (path.rsplit("/", 1)[-1], open(path, "rb"), "image/jpeg")) for path in paths]
    return requests.Request("POST", url, files=files, data={"title": "same"}).prepare()


sized = form()
assert sized.headers["Content-Length"]
drafts = [requests.Session().send(sized)]
content_type = sized.headers["Content-Type"]
pieces = (sized.body[at : at + 5000] for at in range(0, len(sized.body), 5000))
drafts.append(requests.post(url, data=pieces, headers={"Content-Type": content_type}))
for draft in drafts:
    assert draft.status_code == 201, draft.text
print(json.dumps([draft.json() for draft in drafts]))
