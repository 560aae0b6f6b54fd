"""Measures what `docs/scale.md` tells of throughput, long runs and their ends. For Linux.

Usage: python scripts/measure_scale.py throughput [PICTURES] [ROUNDS]
       python scripts/measure_scale.py long PICTURES local|ray
       python scripts/measure_scale.py tail [LARGE] [SMALL]

`throughput`: full HD, one thread for each network; `engine=local`, one worker and two workers in
turn, so that what else the machine does meets them all. `long`: tiny pictures; time and memory by
the thousand. `tail`: a few pictures of 100 megapixels among many small ones, the largest first and,
for comparison, by their names; how long a worker waits at the end.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import psutil

from bgm.config.schema import demo_path

FULL_HD, TINY, SMALL, LARGE = (1920, 1080), (96, 64), (640, 360), (11584, 8640)
LOOK_S = 0.2
MIB = 2**20
BY_NAME = """
import bgm.fleet.engine as engine
def by_name(pairs, workers, most_rows=32):
    rows = min(most_rows, -(-len(pairs) // (16 * workers)))
    return [pairs[at : at + rows] for at in range(0, len(pairs), rows)]
engine.in_blocks = by_name
from bgm.cli.commands import main
main()
"""
RAY = ("engine=ray", "engine.address=local", "engine.cpus=1")


@dataclass(frozen=True)
class Seen:
    """What was seen of a run at one moment.

    Attributes:
        seconds: Since its start.
        done: Records written.
        cpu: Processor seconds of all its processes so far.
        head: Memory of the process that was started, in MiB.
        workers: Memory of the largest worker, in MiB; 0 without workers.
        last: When each worker wrote a record last, on the clock of files.
    """

    seconds: float
    done: int
    cpu: float
    head: float
    workers: float
    last: dict[str, float]


def shoot(root: Path, sizes: list[tuple[int, int]]) -> list[str]:
    """Pairs of these sizes, made from the demo's; the settings that name them."""
    sources = sorted(Path(demo_path("src")).rglob("*.jpg"))
    encoded: dict[tuple[str, Path, tuple[int, int]], bytes] = {}
    for number, size in enumerate(sizes):
        source = sources[number % len(sources)]
        relative = source.relative_to(demo_path("src"))
        for side in ("src", "bgr"):
            key = (side, relative, size)
            if key not in encoded:
                picture = cv2.imread(str(Path(demo_path(side)) / relative))
                assert picture is not None
                large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
                encoded[key] = cv2.imencode(".jpg", large)[1].tobytes()
            path = root / side / f"{number // 1000:03}" / f"{number:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded[key])
    return ["data=folders", f"data.src={root}/src", f"data.bgr={root}/bgr"]


def watch(out: Path, arguments: list[str], program: str | None = None) -> list[Seen]:
    """Run bgm and look at it until it has ended."""
    start = [sys.executable, *(("-c", program) if program else ("-m", "bgm"))]
    settings = [*arguments, "tracking=files", "threads=1", f"output_dir={out}"]
    log = out.with_suffix(".log")
    begun = time.monotonic()
    seen: list[Seen] = []
    with log.open("w") as said:
        run = psutil.Popen([*start, *settings], stdout=said, stderr=subprocess.STDOUT)
        spent: dict[int, float] = {}
        while run.poll() is None:
            seen.append(look(run, out, begun, spent, seen[-1] if seen else None))
            time.sleep(LOOK_S)
    if run.returncode:
        raise SystemExit(f"{' '.join(settings)} ended with {run.returncode}: {log.read_text()}")
    return seen


def look(
    run: psutil.Process, out: Path, begun: float, spent: dict[int, float], before: Seen | None
) -> Seen:
    """See how far a run is, and what its processes hold."""
    head = workers = 0.0
    for process in processes(run):
        try:
            times, held = process.cpu_times(), process.memory_info().rss / MIB
            name = process.name()
        except psutil.Error:  # it has just ended
            continue
        spent[process.pid] = times.user + times.system
        if process.pid == run.pid:
            head = held
        elif name.startswith("ray::"):
            workers = max(workers, held)
    last = dict(before.last) if before else {}
    told = 0  # by the workers; the head tells of whole blocks
    for path in (out / "records").glob("*.jsonl"):
        with suppress(FileNotFoundError):
            last[path.name] = path.stat().st_mtime
            told += path.read_bytes().count(b"\n")
    lines = out / "images.jsonl"
    done = max(told, lines.read_bytes().count(b"\n") if lines.exists() else 0)
    return Seen(time.monotonic() - begun, done, sum(spent.values()), head, workers, last)


def processes(run: psutil.Process) -> Iterator[psutil.Process]:
    """A process and all that it started."""
    yield run
    try:
        yield from run.children(recursive=True)
    except psutil.Error:
        return


def rate(seen: list[Seen], skip: int) -> float:
    """Pictures a second, from when `skip` of them are done to the last."""
    total = seen[-1].done
    first = next(one for one in seen if one.done >= skip)
    last = next(one for one in seen if one.done == total)
    return (total - first.done) / (last.seconds - first.seconds)


def throughput(root: Path, pictures: int = 36, rounds: int = 3) -> None:
    """Print files per second of each engine in each round, and what a worker adds."""
    folders = shoot(root, [FULL_HD] * pictures)
    ways = {
        "local": ["engine=local"],
        "1 worker": [*RAY, "engine.workers=1"],
        "2 workers": [*RAY, "engine.workers=2"],
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, settings in ways.items():
            out = root / f"out-{number}-{name.replace(' ', '-')}"
            seen = watch(out, [*folders, *settings])
            summary = json.loads((out / "run.json").read_text())["summary"]
            found[name].append(rate(seen, pictures // 6))
            ends = f"{found[name][-1]:.3f}/s, {summary['seconds']:.0f} s, cpu {seen[-1].cpu:.0f} s"
            print(f"{number} {name}: {ends}", flush=True)
    for what, folders_of in (("read", ("src", "bgr")), ("written", ("com", "pha", "fgr"))):
        inside = root if what == "read" else out
        files = [p for name in folders_of for p in (inside / name).rglob("*.*")]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        print(f"{what}: {len(files) / pictures:.0f} files, {megabytes / pictures:.2f} MB a picture")
    local = found["local"]
    for name, rates in found.items():
        ratios = [one / other for one, other in zip(rates, local, strict=True)]
        times = [f"{ratio:.3f}" for ratio in ratios]
        print(f"{name}: {statistics.median(rates):.2f}/s, against local {' '.join(times)}")


def long(root: Path, pictures: int, engine: str) -> None:
    """Print time and memory by the thousand."""
    folders = shoot(root, [TINY] * pictures)
    settings = ["engine=local"] if engine == "local" else [*RAY, "engine.workers=2"]
    seen = watch(root / "out", [*folders, *settings])
    print(f"engine={engine}, {pictures} pictures of {TINY[0]}x{TINY[1]}")
    print("| pictures | ms each | processor ms each | head MiB | worker MiB |")
    before = next(one for one in seen if one.done)
    for count in range(1000, pictures + 1, 1000):
        at = next((one for one in seen if one.done >= count), seen[-1])
        if at.done == before.done:
            continue
        wall, cpu = at.seconds - before.seconds, at.cpu - before.cpu
        each = [f"{1000 * value / (at.done - before.done):.1f}" for value in (wall, cpu)]
        print(f"| {at.done} | {each[0]} | {each[1]} | {at.head:.0f} | {at.workers:.0f} |")
        before = at


def tail(root: Path, large: int = 3, small: int = 150) -> None:
    """Print when the workers had their last picture, with the largest first and by name."""
    step = max(1, (small + large) // large)
    sizes = [LARGE if at % step == step - 1 else SMALL for at in range(small + large)]
    folders = shoot(root, sizes)
    for name, program in (("largest first", None), ("by name", BY_NAME)):
        out = root / name.replace(" ", "-")
        seen = watch(out, [*folders, *RAY, "engine.workers=2"], program)
        summary = json.loads((out / "run.json").read_text())["summary"]
        ends = sorted(seen[-1].last.values())
        held = max(one.workers for one in seen)
        print(
            f"{name}: {summary['seconds']:.0f} s, a worker waits {ends[-1] - ends[0]:.1f} s at "
            f"the end; largest worker {held:.0f} MiB",
            flush=True,
        )


def main() -> None:
    """Measure what is asked for."""
    name, *given = sys.argv[1:] or [""]
    with tempfile.TemporaryDirectory() as place:
        if name == "throughput":
            throughput(Path(place), *map(int, given))
        elif name == "long":
            long(Path(place), int(given[0]), given[1])
        elif name == "tail":
            tail(Path(place), *map(int, given))
        else:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
