"""Uploads photos with aiohttp: of known length, and in chunks."""
import asyncio
import json
import sys

import aiohttp

url, *paths = sys.argv[1:]


def form():
    data = aiohttp.FormData()
    data.add_field("title", "same")
    for path in paths:
        data.add_field("files", open(path, "rb"), filename=path.rsplit("/", 1)[-1], content_type="image/jpeg")
    return data


async def main():
    drafts = []
    async with aiohttp.ClientSession() as session:
        for chunked in (None, True):
            async with session.post(url, data=form(), chunked=chunked) as response:
                assert response.status == 201, await response.text()
                drafts.append(await response.json())
    print(json.dumps(drafts))


asyncio.run(main())
