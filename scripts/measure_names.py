"""Measures how long it takes to list and to plan very many photographs, and in how much memory.

Usage: python scripts/measure_names.py [COUNT] [one|each]

A server on the loopback answers listings of S3 as if there were COUNT photographs (a million, if
nothing else is said), with one plate for all or one for each. Measured is what a run does before
its workers begin: list, pair, sort by size, cut into blocks. Times are of the processor; a real
server takes its time too, for each thousand.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
ANSWER = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>shop</Name>'
    "<Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys>{more}{items}"
    "</ListBucketResult>"
)
ITEM = (
    "<Contents><Key>{prefix}day{day:04}/img{number:07}.jpg</Key>"
    "<LastModified>2026-11-25T10:00:00.000Z</LastModified><ETag>&quot;{number:032x}&quot;</ETag>"
    "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
    "<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Listings(BaseHTTPRequestHandler):
    """Answers listings of folders of photographs; other folders are empty."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        """A page of a listing."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        prefix = query.get("prefix", "")
        begin = int(query.get("continuation-token", "0"))
        stop = min(begin + min(PAGE, int(query.get("max-keys", PAGE))), self.count)
        if prefix not in ("photos/", "plates/"):
            stop = begin
        items = "".join(
            ITEM.format(prefix=prefix, day=n // 1000, number=n, size=900_000 + n % 7919)
            for n in range(begin, stop)
        )
        token = f"<NextContinuationToken>{stop}</NextContinuationToken>"
        is_cut = begin < stop < self.count
        more = f"<IsTruncated>true</IsTruncated>{token}" if is_cut else ""
        self._say(200, ANSWER.format(prefix=prefix, count=stop - begin, more=more, items=items))

    def do_HEAD(self) -> None:
        """Whether there is an object: the one plate."""
        self._say(200 if self.path.endswith("plate.jpg") else 404, "")

    def _say(self, code: int, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *said: object) -> None:
        """Nothing."""


def serve(count: int) -> None:
    """Serve until the process is ended; the port is printed."""
    Listings.count = count
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listings)
    print(server.server_port, flush=True)
    server.serve_forever()


def plan(plates: str) -> None:
    """Plan, and print time and memory after each step."""
    from bgm.data import find_pairs
    from bgm.fleet.manifest import Row, in_blocks
    from bgm.storage import locate

    assert not locate("s3://shop/empty").exists()  # what s3fs and botocore need is loaded
    (library,) = (thread.ident for thread in threading.enumerate() if "fsspec" in thread.name)
    assert library is not None
    clock, spent = time.pthread_getcpuclockid(library), time.thread_time()

    def tell(step: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        own, other = time.thread_time() - spent, time.clock_gettime(clock)
        print(f"{step}: {own:.1f} s in bgm, {other:.1f} s in botocore, peak {peak:.0f} MiB")

    tell("nothing")
    name = "plates" if plates == "each" else "plate.jpg"
    pairs = find_pairs(locate("s3://shop/photos"), locate(f"s3://shop/{name}")).pairs
    tell(f"{len(pairs)} pairs")
    blocks = characters = 0
    for block in in_blocks(pairs, workers=100):
        blocks += 1
        characters += sum(len(Row(pair).to_text()) for pair in block)
    tell(f"{blocks} blocks, {characters / 1e6:.0f} MB")


def main() -> None:
    """Start the server, and plan."""
    count, plates = [*sys.argv[1:], "1000000", "each"][:2]
    if count == "serve":
        serve(int(plates))
        return
    plates = "each" if len(sys.argv) < 3 else plates
    command = [sys.executable, __file__, "serve", count]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        os.environ |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "nobody")
        try:
            plan(plates)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
