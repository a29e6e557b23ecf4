"""Puts what the server accepts into every second request, so that more than refusals is tested.

The test makes VINTEDBOT_DRAFTS drafts of three photos each before the run. Random requests have small ids, so that the drafts
with high ids are as they were made.
"""

import itertools
import os
import random
from pathlib import Path

import schemathesis

PHOTO = Path(os.environ["VINTEDBOT_PHOTO"]).read_bytes()
STORED = os.environ["VINTEDBOT_STORED"]
DRAFTS = int(os.environ["VINTEDBOT_DRAFTS"])

LISTING = "/api/v1/listings/{id}"
requests = itertools.count()
choose = random.Random(13)
# Drafts that are read, changed and sorted; that get photos; that lose photos; and that are deleted, each once.
kept = itertools.cycle(range(DRAFTS - 10, DRAFTS + 1))
growing = itertools.cycle(range(DRAFTS - 30, DRAFTS - 10))
shrinking = itertools.cycle(range(DRAFTS - 100, DRAFTS - 30))
deleted = itertools.count(DRAFTS // 2)


def listing_fields():
    """Returns members that create or change a draft."""
    fields = {
        "title": "Blue coat",
        "description": "as new\nsize M",
        "price_suggested": choose.choice([None, 0, 12.5, 19.99]),
    }
    return {name: value for name, value in fields.items() if choose.random() < 0.7}


def accept(case):
    """Makes a request acceptable, as its operation needs it."""
    operation = (case.method.upper(), case.path)
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{choose.random()}"
    if isinstance(case.body, dict) and case.body.get("files"):
        case.body = {"files": [PHOTO], "title": "Blue coat"}
    if "file" in (case.path_parameters or {}):
        case.path_parameters["file"] = STORED
    if operation[1].startswith("/api/v1/listings"):
        case.query = {}
        case.headers.pop("If-Match", None)
    if operation == ("GET", "/api/v1/listings"):
        case.query = {"limit": choose.choice([1, 20, 100]), "status": choose.choice(["draft", "ready"])}
    elif operation == ("POST", "/api/v1/listings"):
        case.body = {**listing_fields(), "uploads": []}
    elif operation in [("GET", LISTING), ("HEAD", LISTING)]:
        case.path_parameters["id"] = next(kept)
    elif operation == ("PATCH", LISTING):
        case.path_parameters["id"] = next(kept)
        case.body = {**listing_fields(), "status": choose.choice(["draft", "ready", "published", "archived"])}
    elif operation == ("DELETE", LISTING):
        case.path_parameters["id"] = next(deleted)
    elif operation == ("POST", LISTING + "/photos"):
        case.path_parameters["id"] = next(growing)
    elif operation == ("DELETE", LISTING + "/photos/{order_index}"):
        case.path_parameters.update({"id": next(shrinking), "order_index": 0})
        case.headers["If-Match"] = "*"
    elif operation == ("PUT", LISTING + "/photos/order"):
        case.path_parameters["id"] = next(kept)
        case.headers["If-Match"] = "*"
        case.body = {"order": choose.sample(range(3), 3)}


@schemathesis.hook
def before_call(context, case, kwargs):
    if next(requests) % 2 == 0:
        accept(case)
