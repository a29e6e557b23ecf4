#!/usr/bin/env python3
"""Runs the stack of deploy/compose.yaml and checks what docs/api.md and docs/operations.md promise, through its balancer with TLS.

    tools/stack_contract.py COMPOSE_FILE...     (started by tools/stack_test.sh, in namespaces of its own)

Each client has an address of its own, so that the limits of the stack may stay as they are.
"""

import concurrent.futures
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib

from stack import CLIENTS, REPOSITORY, VOLUMES, Stack, sh

SITE = os.environ["STACK_SITE"]
INSTANCES = "ingest-1", "ingest-2"
UPLOAD = "/api/v1/ingest/upload"
UPLOADS = "/api/v1/uploads"
LISTINGS = "/api/v1/listings"
BOUNDARY = "a5c1f0"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
MIB = 1 << 20
DRAFT = {"id", "title", "description", "status", "price_suggested", "photos", "updated_at", "created_at"}
MEDIA = {"id", "url", "width", "height", "mime", "thumbhash", "facts", "renditions"}

stack = None
cases = []
numbers = itertools.count(1)


def case(function):
    cases.append(function)
    return function


def check(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


# --- Photos and requests.


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=800, height=600, seed=None):
    """Returns a picture that no other call returns."""
    shade = random.Random(next(numbers) if seed is None else seed).randbytes(3 * width)
    line = b"\0" + shade
    rows = b"".join(line[: 1 + 3 * (y * width // height)].ljust(1 + 3 * width, b"\x7f") for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def form(*photos, title=None):
    parts = [(f'name="files"; filename="{number}.png"', photo) for number, photo in enumerate(photos)]
    parts += [('name="title"', title.encode())] if title else []
    body = b"".join(b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), head.encode(), data) for head, data in parts)
    return body + f"--{BOUNDARY}--\r\n".encode()


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.body)


def client():
    """Returns a new client: its number is that of its address."""
    return next(numbers) % (CLIENTS.num_addresses - 2) + 1


def connect(to="balancer", source=None, timeout=60):
    service = stack[to]
    network = "edge" if to == "balancer" else "front"
    addresses = CLIENTS if to == "balancer" else stack.clients[network]
    source = str(addresses[(source or client()) % addresses.num_addresses])
    port = 443 if to == "balancer" else 8000
    connection = socket.create_connection((service.addresses[network], port), timeout, (source, 0))
    return context().wrap_socket(connection, server_hostname=SITE) if to == "balancer" else connection


def context():
    """Trusts the authority of the balancer alone."""
    return ssl.create_default_context(cafile=VOLUMES / "caddy-data/caddy/pki/authorities/local/root.crt")


def send(method, path, body=None, headers=None, to="balancer", source=None, timeout=60):
    connection = http.client.HTTPConnection(SITE, timeout=timeout)
    connection.sock = connect(to, source, timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def get(path, **options):
    return send("GET", path, **options)


def upload(*photos, **options):
    return send("POST", UPLOAD, form(*photos), {**FORM, **options.pop("headers", {})}, **options)


def draft(*photos):
    answer = upload(*(photos or [png()]))
    check("status of an upload", (answer.status, answer.body[:300] if answer.status != 201 else b""), (201, b""))
    return answer.json


def problem(answer, status, name):
    """Checks an error: its status, and the last part of its type."""
    check("status", (answer.status, answer.body[:200] if answer.status != status else b""), (status, b""))
    check("type of an error", answer.headers["Content-Type"], "application/problem+json")
    found = answer.json
    check("problem", (found["status"], found["type"].split(":")[-1].split("#")[-1]), (status, name))
    check("request_id", found["request_id"], answer.headers["X-Request-Id"])
    if status in (429, 503) and name != "not-ready":
        check("Retry-After", int(answer.headers["Retry-After"]) > 0, True)
    return found


def photo_is_whole(media, to="balancer"):
    answer = get(media["url"], to=to)
    check(f"photo from {to}", answer.status, 200)
    check("hash of the photo", f"/media/{hashlib.sha256(answer.body).hexdigest()}.jpg", media["url"])
    return answer


def eventually(what, condition, within=30):
    """Waits until the condition holds, and returns how long it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within:
            raise AssertionError(f"{what}: not within {within} s")
        time.sleep(0.1)
    return f"{what} after {time.monotonic() - begun:.1f} s"


# --- The contract.


@case
def site():
    plain = http.client.HTTPConnection(stack["balancer"].addresses["edge"], 80, timeout=10)
    plain.request("GET", "/api/v1/health", headers={"Host": SITE})
    check("plain HTTP", (plain.getresponse().status // 100, 3), (3, 3))
    health = get("/api/v1/health")
    check("health", (health.json, health.headers["Alt-Svc"]), ({"status": "ok"}, None))
    check("ready", get("/api/v1/ready").status, 200)
    check("OpenAPI", get("/api/v1/openapi.json").json["openapi"][:3], "3.1")
    for path in ["/metrics", "/metrics/x"]:
        check(f"{path} outside", get(path).status, 404)
    for instance in INSTANCES:
        check("/metrics inside", b"vintedbot_" in get("/metrics", to=instance).body, True)
    check("X-Request-Id", get("/api/v1/health", headers={"X-Request-Id": "abc"}).headers["X-Request-Id"], "abc")
    problem(get("/api/v1/nothing"), 404, "not-found")


@case
def photos_are_stored_and_served_by_both():
    for count in [1, 20]:
        answer = upload(*(png() for _ in range(count)))
        check("status", answer.status, 201)
        found = answer.json
        check("members", (set(found), set(found["photos"][0]["media"])), (DRAFT, MEDIA))
        check("Location", answer.headers["Location"], f"{LISTINGS}/{found['id']}")
        check("order", [photo["order_index"] for photo in found["photos"]], list(range(count)))
        for instance in INSTANCES:
            again = get(answer.headers["Location"], to=instance)
            check("draft", (again.json, again.headers["ETag"]), (found, answer.headers["ETag"]))
            for photo in found["photos"]:
                photo_is_whole(photo["media"], to=instance)
    heic = (REPOSITORY / "tests/fixtures/heif/grid.heic").read_bytes()
    photos = [draft(heic)["photos"][0]["media"] for _ in range(2)]
    check("equal photos", photos[0], photos[1])


@case
def bad_photos_are_refused():
    broken = png()[:-300]
    found = problem(upload(png(), broken), 422, "truncated-image")
    check("place", (found["file_index"], found["filename"]), (1, "1.png"))
    problem(upload(b"%PDF-1.7 no photo"), 415, "unsupported-image")
    problem(upload(*(png(32, 32) for _ in range(21))), 413, "too-many-photos")
    problem(upload(png() + bytes(15 * MIB)), 413, "photo-too-large")
    problem(upload(), 400, "no-photo")
    problem(send("POST", UPLOAD, b"{}", {"Content-Type": "application/json"}), 415, "not-multipart")
    answer = send("POST", f"{UPLOAD}?on_error=skip", form(png(), broken), FORM)
    check("the rest", (answer.status, [part["file_index"] for part in answer.json["rejected"]]), (201, [1]))
    # Larger than an instance takes, but not than the balancer does; and larger than both.
    for length in [301 * MIB + 4096, 400 * MIB]:
        problem(exchange(head("POST", UPLOAD, {**FORM, "Content-Length": length}), length), 413, "body-too-large")


def head(method, path, headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {SITE}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def exchange(head_, length):
    """Sends a request, and its body until there is an answer, as most clients do. Returns the answer."""

    def send_body():
        with contextlib.suppress(OSError):
            for _ in range(length // MIB):
                connection.sendall(bytes(MIB))

    with connect() as connection:
        connection.sendall(head_)
        sender = threading.Thread(target=send_body)
        sender.start()
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = Answer(response, response.read())
        connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    return answer


def next_head(connection):
    """Returns the head of the next answer, interim or final."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionResetError(f"closed after {found}")
        found += byte
    return found.decode("latin-1")


def final_head(connection):
    """Returns the head of the next final answer. Caddy sometimes says 100 too, before or after the instance does."""
    while (found := next_head(connection))[9:12] == "100":
        pass
    return found


@case
def expect_continue_is_answered_by_the_instance():
    body = form(png())
    headers = {**FORM, "Content-Length": len(body), "Expect": "100-continue"}
    with connect() as connection:
        connection.sendall(head("POST", UPLOAD, headers))
        check("interim answer", next_head(connection)[9:12], "100")
        connection.sendall(body)
        check("final answer", final_head(connection)[9:12], "201")
    # Caddy keeps a refusal for a minute from a client that sends no body.
    with connect(timeout=90) as connection:
        connection.sendall(head("POST", UPLOAD, {**headers, "Content-Type": "text/plain"}))
        check("answer without the body", final_head(connection)[9:12], "415")


@case
def http2_is_served_by_the_balancer():
    photo = pathlib.Path("/run/stack/photo.png")
    photo.write_bytes(png())
    root = VOLUMES / "caddy-data/caddy/pki/authorities/local/root.crt"
    curl = ["curl", "-sS", "--http2", "--cacert", root, "--resolve", f"{SITE}:443:{stack['balancer'].addresses['edge']}"]
    curl += ["--interface", str(CLIENTS[client()]), "-F", f"files=@{photo}", "-w", "\n%{http_version} %{http_code}", f"https://{SITE}{UPLOAD}"]
    body, _, status = subprocess.run(curl, check=True, capture_output=True, text=True).stdout.rpartition("\n")
    check("version and status", status, "2 201")
    photo_is_whole(json.loads(body)["photos"][0]["media"])


@case
def key_makes_one_draft_through_both():
    key, photo = {"Idempotency-Key": f"key-{random.random()}"}, png()
    first = upload(photo, headers=key, to="ingest-1")
    check("first", (first.status, first.headers["Idempotency-Replayed"]), (201, None))
    for to in ["ingest-2", "balancer"]:
        again = upload(photo, headers=key, to=to)
        check("again", (again.status, again.headers["Idempotency-Replayed"], again.json), (201, "true", first.json))
    problem(send("POST", LISTINGS, b"{}", {**key, "Content-Type": "application/json"}), 422, "key-reused")


@case
def uploads_survive_the_connection_and_the_instance():
    for target, content, partial in [(UPLOADS, png(1600, 1200), {}), (UPLOAD, form(png(1600, 1200), png()), FORM)]:
        length, third = len(content), len(content) // 3
        created = send("POST", target, content[:third], {**partial, "Upload-Complete": "?0", "Upload-Length": str(length)}, to="ingest-1")
        check("creation", (created.status, created.headers["Upload-Offset"]), (201, str(third)))
        place = created.headers["Location"]
        patch = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1"}
        # A connection that breaks between the client and the balancer.
        with connect() as connection:
            connection.sendall(head("PATCH", place, {**patch, "Upload-Offset": third, "Content-Length": length - third}))
            connection.sendall(content[third : 2 * third])
        offset = 0
        for to in ["ingest-2", "balancer"]:
            # A request that the balancer still writes gets 409, and may end the new one so: it is tried again.
            eventually("state", lambda: (state := send("HEAD", place, to=to)).status == 204)
            state = send("HEAD", place, to=to)
            offset = int(state.headers["Upload-Offset"])
            check("state", (state.headers["Upload-Complete"], third <= offset <= 2 * third), ("?0", True))
        problem(send("PATCH", place, b"x", {**patch, "Upload-Offset": "1"}), 409, "mismatching-upload-offset")
        done = send("PATCH", place, content[offset:], {**patch, "Upload-Offset": str(offset)}, to="ingest-2")
        check("end", (done.status, done.body[:200] if done.status != 201 else b""), (201, b""))
        state = get(place, to="ingest-1").json
        check("state at the end", state["state"], "finished")
        photo_is_whole(state["media"] if target == UPLOADS else state["draft"]["photos"][0]["media"])
    tus = {"Tus-Resumable": "1.0.0"}
    content = png()
    place = send("POST", UPLOADS, headers={**tus, "Upload-Length": str(len(content))}).headers["Location"]
    for offset, part in [(0, content[:1000]), (1000, content[1000:])]:
        check("tus offset", send("HEAD", place, headers=tus).headers["Upload-Offset"], str(offset))
        answer = send("PATCH", place, part, {**tus, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"})
        check("tus", answer.status, 204)
    made = send("POST", LISTINGS, json.dumps({"title": "of an upload", "uploads": [place.split("/")[-1]]}), {"Content-Type": "application/json"})
    check("draft of an upload", (made.status, len(made.json["photos"])), (201, 1))


@case
def interim_answer_with_the_place_passes_the_balancer():
    content = png()
    headers = {"Content-Type": "image/png", "Content-Length": len(content), "Upload-Draft-Interop-Version": 8, "Upload-Complete": "?1"}
    with connect(timeout=10) as connection:
        connection.sendall(head("POST", UPLOADS, headers))
        interim = next_head(connection)
        check("interim answer", (interim[9:12], f"location: {UPLOADS}/" in interim.lower()), ("104", True))
        connection.sendall(content)
        while (final := next_head(connection))[9:12] == "104":
            pass
        check("final answer", final[9:12], "201")


@case
def drafts_are_listed_changed_and_deleted():
    made = draft(png(), png(), png())
    place = f"{LISTINGS}/{made['id']}"
    mine = {"Content-Type": "application/json"}
    check("list", made["id"] in [item["id"] for item in get(f"{LISTINGS}?limit=100", to="ingest-2").json["items"]], True)
    tag = get(place).headers["ETag"]
    check("304", get(place, headers={"If-None-Match": tag}).status, 304)
    changed = send("PATCH", place, '{"title": "Shoes", "price_suggested": 19.5, "status": "ready"}', {**mine, "If-Match": tag})
    check("change", (changed.status, changed.json["title"], changed.json["price_suggested"]), (200, "Shoes", 19.5))
    problem(send("PATCH", place, '{"title": ""}', {**mine, "If-Match": tag}), 412, "precondition-failed")
    check("pointer", problem(send("PATCH", place, '{"id": 5}', mine), 422, "bad-member")["pointer"], "/id")
    hashes = [photo["media"]["url"] for photo in made["photos"]]
    problem(send("PUT", f"{place}/photos/order", '{"order": [2, 0, 1]}', mine), 428, "precondition-required")
    sorted_ = send("PUT", f"{place}/photos/order", '{"order": [2, 0, 1]}', {**mine, "If-Match": changed.headers["ETag"]}, to="ingest-1")
    check("order", [photo["media"]["url"] for photo in sorted_.json["photos"]], [hashes[2], hashes[0], hashes[1]])
    removed = send("DELETE", f"{place}/photos/0", headers={"If-Match": sorted_.headers["ETag"]}, to="ingest-2")
    check("removal", [photo["media"]["url"] for photo in removed.json["photos"]], hashes[:2])
    added = send("POST", f"{place}/photos", form(png()), FORM)
    check("addition", (added.status, len(added.json["photos"])), (200, 3))
    problem(send("POST", f"{place}/photos", form(*(png(32, 32) for _ in range(18))), FORM), 413, "draft-full")
    check("deletion", send("DELETE", place).status, 204)
    for instance in INSTANCES:
        problem(get(place, to=instance), 404, "not-found")


@case
def photos_have_ranges_conditions_and_copies():
    media = draft(png(1200, 900))["photos"][0]["media"]
    whole = photo_is_whole(media)
    check("headers", (whole.headers["Cache-Control"], whole.headers["X-Content-Type-Options"]), ("public, max-age=31536000, immutable", "nosniff"))
    asked = send("HEAD", media["url"])
    check("HEAD", (asked.status, asked.headers["Content-Length"], asked.headers["ETag"]), (200, str(len(whole.body)), whole.headers["ETag"]))
    part = get(media["url"], headers={"Range": "bytes=10-99"})
    check("range", (part.status, part.body), (206, whole.body[10:100]))
    problem(get(media["url"], headers={"Range": f"bytes={len(whole.body)}-"}), 416, "bad-range")
    check("304", get(media["url"], headers={"If-None-Match": whole.headers["ETag"]}).status, 304)
    check("copies", [copy["width"] for copy in media["renditions"]], [320, 640, 1080])
    for copy in media["renditions"]:
        first, second = (get(copy["url"], to=instance) for instance in INSTANCES)
        check("copy", (first.status, first.body[:2], first.body), (200, b"\xff\xd8", second.body))
    problem(get(media["url"].replace(".jpg", "/321.jpg")), 404, "not-found")


@case
def drafts_of_a_user_are_seen_by_the_user():
    token = {"Authorization": "Bearer " + stack["ingest-1"].run("vintedbot-ingest", "token", "issue", "--user", "7").strip()}
    place = upload(png(), headers=token).headers["Location"]
    check("own", get(place, headers=token, to="ingest-2").status, 200)
    problem(get(place), 404, "not-found")
    problem(get(place, headers={"Authorization": "Bearer x"}), 401, "token-invalid")


@case
def limits_are_shared_and_count_the_real_address():
    phone, body = client(), b""
    # The limit is ten a minute. The client claims another address each time.
    answers = [
        send("POST", UPLOAD, body, {**FORM, "X-Forwarded-For": f"10.1.1.{number}", "Forwarded": f"for=10.1.1.{number}"}, source=phone)
        for number in range(14)
    ]
    statuses = [answer.status for answer in answers]
    check("statuses", statuses, [400] * 10 + [429] * 4)
    problem(answers[-1], 429, "rate-limited")
    check("another client", upload(png()).status, 201)
    shares = [re.search(rb'vintedbot_http_requests_total\{[^}]*status="429"[^}]*\} (\d+)', get("/metrics", to=instance).body) for instance in INSTANCES]
    return f"429 by instance: {[int(share[1]) if share else 0 for share in shares]}"


# --- What fails, and comes back.


class Load:
    """Clients that upload and read in a row, each request from a new address."""

    def __init__(self, clients=6):
        self.enough = threading.Event()
        self.made, self.failures, self.sent = [], [], 0
        self.pool = concurrent.futures.ThreadPoolExecutor(clients)
        self.running = [self.pool.submit(self.work) for _ in range(clients)]

    def work(self):
        while not self.enough.is_set():
            self.sent += 1
            try:
                answer = upload(png(640, 480))
                if answer.status != 201:
                    self.failures.append(f"{answer.status} {answer.body[:60]}")
                    continue
                self.made.append(answer.json)
                check("read", get(answer.headers["Location"]).status, 200)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"{type(error).__name__} {error}")

    def grow(self, number=30):
        """Waits for that many further uploads that succeed."""
        target = len(self.made) + number
        try:
            eventually(f"{number} uploads under load", lambda: len(self.made) >= target, 120)
        except AssertionError:
            self.enough.set()  # Python does not end before its threads
            raise

    def end(self):
        """Ends the load. Every draft that was acknowledged must be there, with its photos."""
        self.enough.set()
        for running in self.running:
            running.result()
        for made in self.made:
            check("acknowledged draft", get(f"{LISTINGS}/{made['id']}").json["photos"], made["photos"])
            photo_is_whole(made["photos"][0]["media"])
        return f"{self.sent} uploads, {len(self.made)} acknowledged and there, {len(self.failures)} failed {sorted(set(self.failures))[:4]}"


def start_and_use(instance):
    """Starts an instance, and waits until the balancer uses it again."""
    stack[instance].start()
    used = re.compile(rb'vintedbot_http_requests_total\{[^}]*status="201"[^}]*\} [1-9]')
    eventually(f"uploads through {instance}", lambda: draft() and used.search(get("/metrics", to=instance).body))


@case
def instances_restart_one_after_the_other_without_an_error():
    load = Load()
    for instance in INSTANCES:
        load.grow()
        stack[instance].stop()
        load.grow()
        start_and_use(instance)
    load.grow()
    result = load.end()
    check("failures", load.failures, [])
    return result


@case
def killed_instance_loses_nothing_that_was_acknowledged():
    load = Load()
    for instance in INSTANCES:
        load.grow()
        stack[instance].kill()
        load.grow()
        start_and_use(instance)
    load.grow()
    result = load.end()
    # At most those that the instance had in work.
    check("failures are few", len(load.failures) <= 2 * 6, True)
    return result


@case
def refused_connection_goes_to_the_other_instance():
    for instance in INSTANCES:
        # Before the balancer asks for the health of either.
        stack[instance].kill()
        check("statuses", [upload(png()).status for _ in range(20)], [201] * 20)
        start_and_use(instance)


@case
def lost_connections_are_no_failures_of_an_instance():
    for _ in range(20):
        with connect() as connection:
            connection.sendall(head("POST", UPLOAD, {**FORM, "Content-Length": 100_000, "Expect": "100-continue"}))
            check("an instance reads the body", next_head(connection)[9:12], "100")
            connection.sendall(form(png())[:1000])
            # Reset, not closed: what a phone without network looks like once the kernel gives up.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check("uploads", [upload(png()).status for _ in range(10)], [201] * 10)


@contextlib.contextmanager
def without(name, how):
    """Stops a service, or stalls it, meanwhile. The instances are not restarted."""
    before = [stack[instance].process.pid for instance in INSTANCES]
    service = stack[name]
    if how == "stopped":
        service.stop()
    else:
        sh("kill", "-STOP", *service_pids(name))
    yield
    if how == "stopped":
        service.start()
    else:
        sh("kill", "-CONT", *service_pids(name))
    check("instances", [stack[instance].process.pid for instance in INSTANCES], before)


def service_pids(name):
    return [process for process in os.listdir("/proc") if process.isdigit() and in_service(process, name)]


def in_service(process, name):
    with contextlib.suppress(OSError):
        return os.path.samefile(f"/proc/{process}/root", stack[name].root)
    return False


@case
def redis_may_be_away():
    results = []
    for how in ["stopped", "stalled"]:
        with without("redis", how):
            begun = time.monotonic()
            check("upload", upload(png()).status, 201)
            results.append(f"{how}: 201 after {time.monotonic() - begun:.1f} s")
            photo_is_whole(draft()["photos"][0]["media"])
        eventually("shared limits", lambda: limit_is_shared())
    return ", ".join(results)


def limit_is_shared():
    phone = client()
    statuses = [send("POST", UPLOAD, b"", FORM, source=phone).status for _ in range(12)]
    return statuses == [400] * 10 + [429] * 2


@case
def stores_may_be_away():
    results = []
    made = draft()
    place, media = f"{LISTINGS}/{made['id']}", made["photos"][0]["media"]
    for name, down in [("postgres", "catalog"), ("garage", "media")]:
        for how in ["stopped", "stalled"]:
            with without(name, how):
                begun = time.monotonic()
                problem(upload(png()), 503, "unavailable")
                took = time.monotonic() - begun
                check("health", get("/api/v1/health").status, 200)
                eventually("not ready", lambda: get("/api/v1/ready").status == 503)
                check("down", problem(get("/api/v1/ready"), 503, "not-ready")["down"], [down])
                if name == "postgres":
                    problem(get(place), 503, "unavailable")
                    photo_is_whole(media)
                else:
                    check("draft", get(place).json, made)
                    problem(get(media["url"]), 503, "unavailable")
            back = eventually("201", lambda: upload(png()).status == 201, 60)
            results.append(f"{name} {how}: 503 after {took:.1f} s, {back}")
            for instance in INSTANCES:
                # Each finds out by itself.
                eventually("ready", lambda: get("/api/v1/ready", to=instance).status == 200)
                eventually("photos", lambda: get(media["url"], to=instance).status == 200)
                check("draft", get(place, to=instance).json, made)
                photo_is_whole(media, to=instance)
    return "; ".join(results)


# What an instance asks for in its startup message, and PgBouncer keeps back.
ROLE = """
ALTER ROLE vintedbot SET statement_timeout = '4s';
ALTER ROLE vintedbot SET lock_timeout = '4s';
ALTER ROLE vintedbot SET idle_in_transaction_session_timeout = '120s';
"""


def prepare_secured():
    certs = VOLUMES / "certs"
    certs.mkdir(parents=True, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    sh("openssl", "req", "-x509", *key, "-keyout", certs / "ca.key", "-out", certs / "ca.pem", "-subj", "/CN=stack", "-days", 2)
    sh("openssl", "req", *key, "-keyout", certs / "key.pem", "-out", certs / "request.pem", "-subj", "/CN=stack")
    (certs / "names").write_text("subjectAltName=DNS:bucket,DNS:pgbouncer,DNS:redis\n")
    authority = ["-CA", certs / "ca.pem", "-CAkey", certs / "ca.key", "-days", 2, "-extfile", certs / "names"]
    sh("openssl", "x509", "-req", *authority, "-in", certs / "request.pem", "-out", certs / "cert.pem")
    (certs / "key.pem").chmod(0o644)  # nobody else sees this directory
    stack["postgres"].start()
    psql = 'PGPASSWORD="$POSTGRES_PASSWORD" psql -q -h /tmp -U vintedbot -d vintedbot -c "$0"'
    stack["postgres"].run("sh", "-c", psql, ROLE)


def main():
    global stack
    files = [pathlib.Path(file) for file in sys.argv[1:]]
    chosen = [function for function in cases if os.environ.get("CASE", "") in function.__name__]
    begun = time.monotonic()
    stack = Stack(files)
    failed = []
    try:
        if "pgbouncer" in stack.services:
            prepare_secured()
        stack.up()
        print(f"the stack is healthy after {time.monotonic() - begun:.1f} s", flush=True)
        for function in chosen:
            started = time.monotonic()
            try:
                result = function()
                print(f"ok      {function.__name__} ({time.monotonic() - started:.1f} s)", *([result] if result else []), flush=True)
            except Exception as error:  # the others still run
                failed.append(function.__name__)
                print(f"FAILED  {function.__name__}: {type(error).__name__}: {error}", flush=True)
        if not failed:
            for service in reversed(stack.services.values()):
                service.stop()
    except BaseException:
        stack.print_logs()
        raise
    if failed:
        stack.print_logs()
    print(f"{len(chosen) - len(failed)} of {len(chosen)} checks passed in {time.monotonic() - begun:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
