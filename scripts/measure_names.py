"""Measures how long it takes to list and to plan very many photographs, and in how much memory.

Usage: python scripts/measure_names.py [COUNT] [one|each|head]

A server on the loopback answers listings of S3 as if there were COUNT photographs (a million, if
nothing else is said), with one plate for all or one for each. Measured is what a run does before
its workers begin: list, pair, sort by size, cut into blocks. Times are of the processor; a real
server takes its time too, for each thousand. `head` runs a whole Ray job instead, whose two workers
report pictures without making any: how many a second the head can take, and what it holds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil

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

IDLE_WORKERS = """
import sys
import bgm.fleet.engine as engine
from bgm.fleet.manifest import Row
from bgm.fleet.worker import BlockReport
from bgm.records.fingerprints import InputFile
from bgm.records.record import ImageRecord, Timings
class Idle:
    def __init__(self, job):
        pass
    def __call__(self, batch):
        done = BlockReport("idle")
        for row in map(Row.from_text, batch["row"]):
            pair = row.pair
            inputs = {k: InputFile(str(p), "0" * 64, 900000, 1)
                      for k, p in (("src", pair.src), ("bgr", pair.bgr))}
            files = {kind: f"{kind}/{pair.name}.png" for kind in ("com", "pha", "fgr")}
            times = Timings(*(float(n) for n in range(9)))
            done.records.append(ImageRecord(pair.name, width=1920, height=1080, inputs=inputs,
                                            files=files, timings=times))
        return {"report": [done.to_bytes()]}
Idle.__module__ = "__main__"
engine.Worker = Idle
from bgm.cli.commands import main
main()
"""


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


def head() -> None:
    """Run a job whose workers do nothing; print what the head does and holds meanwhile."""
    with tempfile.TemporaryDirectory() as out:
        settings = ["engine=ray", "engine.address=local", "engine.workers=2", "engine.cpus=1"]
        paths = ["data=folders", "data.src=s3://shop/photos", "data.bgr=s3://shop/plate.jpg"]
        command = [sys.executable, "-c", IDLE_WORKERS, *settings, *paths, f"output_dir={out}/run"]
        run = psutil.Popen([*command, "tracking=files"], stdout=subprocess.DEVNULL)
        lines, first, last = Path(out, "run", "images.jsonl"), (0, 0.0, 0.0), (0, 0.0, 0.0)
        held = 0.0
        while run.poll() is None:
            with suppress(psutil.Error, FileNotFoundError):
                times, done = run.cpu_times(), lines.read_bytes().count(b"\n")
                last = done, times.user + times.system, time.monotonic()
                held = run.memory_info().rss / 2**20
                if done and not first[0]:
                    print(f"first pictures: head {held:.0f} MiB", flush=True)
                    first = last
            time.sleep(1)
    count, cpu, wall = (after - before for after, before in zip(last, first, strict=True))
    each = 1000 * cpu / count
    print(f"{count} pictures, {each:.2f} ms of the head each, {count / wall:.0f}/s, {held:.0f} MiB")


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
            head() if plates == "head" else plan(plates)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
