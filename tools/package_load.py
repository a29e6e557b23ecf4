#!/usr/bin/env python3
"""Sends requests to a server that restarts, and fails if one of them fails. For tools/package_test.sh.

    tools/package_load.py PORT REQUESTS LONGEST_WAIT END

Eight clients without retries upload photos, and read the drafts and photos that they made: at least REQUESTS requests, and until the
file END exists. Each fifth request opens a connection, the others use one that is kept. A request waits from the beginning of its connection
to the end of its answer, and fails if that takes longer than LONGEST_WAIT seconds. At the end every draft that the server acknowledged is read again.
"""

import collections
import json
import os
import select
import socket
import struct
import sys
import threading
import time
import zlib

CLIENTS = 8
PAUSE = 0.025  # seconds between two requests of a client
TIMEOUT = 60  # seconds until a request without an answer has failed
PHOTO = 640, 480  # width and height
BOUNDARY = "a5c1f0"

port, requests, longest_wait, end = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
lock = threading.Lock()
sent = 0
waits = []
failures = collections.Counter()
counts = collections.Counter()
drafts = []


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def photo(number):
    """Returns a picture as PNG, without its end."""
    width, height = PHOTO
    rows = []
    for y in range(0, height, 16):
        row = (bytes((x * 255 // width, y * 255 // height, number * 16 ^ (x * y // 512) % 256)) for x in range(width))
        rows += [b"\0" + b"".join(row)] * 16
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows), 1))


def upload(number):
    """Returns a request with one of the pictures, in a file that no other request has: the server recognises none."""
    png = photos[number % len(photos)] + chunk(b"tEXt", b"Comment\0%d" % number) + chunk(b"IEND", b"")
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="photo.png"\r\n\r\n'.encode()
        + png
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        "POST /api/v1/ingest/upload HTTP/1.1\r\nHost: test\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


class Client:
    def __init__(self):
        self.kept = None

    def exchange(self, request):
        """Returns status and body of the answer. The connection is kept unless the answer says otherwise."""
        connection, self.kept = self.kept, None
        # As each client looks before it uses a connection again: has the server closed it?
        if connection and select.select([connection], [], [], 0)[0]:
            connection.close()
            connection = None
        counts["on kept connections" if connection else "on new connections"] += 1
        connection = connection or socket.create_connection(("127.0.0.1", port), TIMEOUT)
        try:
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += self.receive(connection)
            head, _, body = answer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:])
            while len(body) < int(headers["content-length"]):
                body += self.receive(connection)
        except BaseException:
            connection.close()
            raise
        if headers.get("connection") == "close":
            connection.close()
        else:
            self.kept = connection
        return int(lines[0].split()[1]), body

    @staticmethod
    def receive(connection):
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError("closed before the end of the answer")
        return data

    def expect(self, status, request, what):
        """Sends a request. Returns the body of an answer with `status`, and None for any other."""
        begun = time.monotonic()
        try:
            found, body = self.exchange(request)
        except ConnectionRefusedError:
            failures["refused"] += 1
        except (ConnectionResetError, BrokenPipeError):
            failures["reset"] += 1
        except OSError as error:
            failures[f"{what}: {error}"] += 1
        else:
            waits.append(time.monotonic() - begun)
            counts[what] += 1
            if found == status:
                return body
            failures[f"{what}: status {found}"] += 1
        return None

    def run(self):
        global sent
        draft = None
        while True:
            with lock:
                number = sent
                if number >= requests and os.path.exists(end):
                    return
                sent += 1
            if number % 5 == 0 and self.kept:
                self.kept.close()
                self.kept = None
            if draft and number % 4 in (1, 2):
                self.expect(200, get(f"/api/v1/listings/{draft['id']}"), "drafts read")
            elif draft and number % 4 == 3:
                self.expect(200, get(draft["photos"][0]["media"]["url"]), "photos read")
            else:
                body = self.expect(201, upload(number), "uploads")
                draft = body and json.loads(body)
                if draft:
                    drafts.append(draft["id"])
            time.sleep(PAUSE)


photos = [photo(number) for number in range(16)]
clients = [threading.Thread(target=Client().run) for _ in range(CLIENTS)]
for client in clients:
    client.start()
for client in clients:
    client.join()
waits.sort()
longest = waits[-1]
print(
    f"{sent} requests ({', '.join(f'{number} {what}' for what, number in sorted(counts.items()))}): "
    f"{failures['refused']} refused, {failures['reset']} reset, {sum(failures.values())} failed; "
    f"wait: median {waits[len(waits) // 2] * 1000:.0f} ms, 99 % {waits[len(waits) * 99 // 100] * 1000:.0f} ms, longest {longest:.2f} s"
)

reader = Client()
for draft in drafts:
    reader.expect(200, get(f"/api/v1/listings/{draft}"), "acknowledged drafts")
print(f"{counts['acknowledged drafts']} of {len(drafts)} acknowledged drafts are there")
failed = {what: number for what, number in failures.items() if number}
if failed or longest > longest_wait:
    sys.exit(f"tools/package_load.py: FAILED: {failed}, longest wait {longest:.2f} s of at most {longest_wait} s")
