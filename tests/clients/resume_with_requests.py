"""Prints the ids of photos that the recipe of docs/api.md uploads. The test puts the recipe beside this file."""
import json
import sys

from recipe import upload_photo

server, *paths = sys.argv[1:]
print(json.dumps([upload_photo(server, path) for path in paths]))
