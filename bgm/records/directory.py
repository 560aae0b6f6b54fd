"""A run's directory: its records, summary, status and lock, and nothing half-written.

It may be on remote storage. A run then keeps its records in a folder of this machine too, where
they can grow by a line, and puts them there in parts.

Every file says in which version of this layout it was written. Readers pass over fields that they
do not know and do without those that are missing, so that old and new runs can be compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from bgm.errors import ConfigError, RecordError
from bgm.records.atomic import in_words, write_atomically
from bgm.records.journal import Journal, journals, remove_journals
from bgm.records.lock import DirectoryLock
from bgm.records.record import ImageRecord, from_plain
from bgm.records.summary import Summary

VERSION = 2
"""Of the layout of the files below; 1 was without a number, with the inputs in `run.json` too."""

IMAGES_FILE = "images.jsonl"
RUN_FILE = "run.json"
REPLACED_FILE = "replaced.json"
"""Files of earlier runs that are being overwritten, until the last of them has given way."""

IDENTITY = "tracking_id"
"""In `run.json`: what the run is known by to those who are told of it."""

STATUS_FILE = "status.json"
"""How a job of a sweep ended, even if it never became a run."""

SNAPSHOT = Path(".hydra") / "config.yaml"
"""The settings of a run, which repeat it."""


@dataclass(frozen=True)
class JobStatus:
    """How a job of a sweep ended.

    Attributes:
        exit_code: As the command on its own would have ended; None as long as it runs.
        error: Why it failed, or None.
        overrides: What the command line and the sweep set for it.
        sweep: Which sweep it is of.
        job: Its number in that.
        config: Its settings as they were composed, nested; not checked yet.
        note: What the sweep has to say of it, such as that it dropped out of a race.
    """

    exit_code: int | None = None
    error: str | None = None
    overrides: list[str] = field(default_factory=list)
    sweep: str | None = None
    job: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class RunFile:
    """What `run.json` tells of a run.

    Attributes:
        summary: Its figures.
        config: Its settings, nested; empty if they are not told.
        facts: Versions, machine, checkpoint, and whatever else stands there.
    """

    summary: Summary
    config: dict[str, Any]
    facts: dict[str, Any]

    @property
    def checkpoint_sha256(self) -> str | None:
        """The SHA-256 of the weights, if it is told."""
        checkpoint = self.facts.get("checkpoint")
        return checkpoint.get("sha256") if isinstance(checkpoint, dict) else None


class RunDirectory:
    """The files of one run, beside its pictures.

    Args:
        path: The directory.
        working: Where on this machine a run keeps its records as well, if its directory is not
            here.
    """

    def __init__(self, path: Path, working: Path | None = None) -> None:
        self.path = path
        self.working = working or path
        self._lock: DirectoryLock | None = None
        self._journal: Journal | None = None
        self._images: TextIO | None = None
        self._told: dict[str, Any] = {}

    def lock(self) -> None:
        """Keep other runs out until `release`.

        Raises:
            ConfigError: Another run writes here.
        """
        self._lock = DirectoryLock(self.working)

    def is_locked(self) -> bool:
        """Whether a run is at work here."""
        try:
            self.lock()
        except ConfigError:
            return True
        self.release()
        return False

    def release(self) -> None:
        """Let other runs in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def begin(
        self,
        images: int,
        config: Mapping[str, Any],
        facts: Mapping[str, Any],
        settled: Iterable[ImageRecord] = (),
    ) -> None:
        """Write what is known already, and say in `run.json` that the run has begun.

        Args:
            images: Images that it is asked for, those that are settled included.
            config: Its settings, as nested plain values.
            facts: Versions, machine, checkpoint.
            settled: Records of images that need no work.

        Raises:
            WriteError: The files cannot be written.
        """
        # Records of an earlier run give way only once those that are kept are on disk.
        kept = "".join(map(to_line, settled)).encode()
        for place in self._places():
            write_atomically(place / IMAGES_FILE, kept)
        remove_journals(self.path)
        path = self.working / IMAGES_FILE
        with in_words(path):
            self._images = path.open("a", encoding="utf-8")
        if self.working != self.path:
            self._journal = Journal(self.path, f"head-{uuid.uuid4().hex[:8]}")
        self._told = {**facts, "config": config}
        self._write_run(Summary(status="running", images=images))

    def remember_files(self) -> dict[str, list[str]]:
        """The files that earlier runs stored, by image, relative to the directory.

        They are written down until `finish` is told of a finished run: should this one be
        interrupted, the next knows of those that were not reached.

        Raises:
            WriteError: They cannot be written down.
        """
        found: dict[str, list[str]] = {}
        with suppress(RecordError):
            found = _read_json(self.path / REPLACED_FILE) or {}
        with suppress(RecordError):
            for name, record in self.read_records().items():
                found[name] = sorted({*found.get(name, ()), *record.files.values()})
        found = {name: files for name, files in found.items() if files}
        if found:
            write_atomically(self.path / REPLACED_FILE, json.dumps(found).encode())
        return found

    def append(self, record: ImageRecord) -> None:
        """Write the record of one more image, at once.

        Raises:
            WriteError: It cannot be written.
        """
        assert self._images is not None, "begin comes first"
        with in_words(self.working / IMAGES_FILE):
            line = to_line(record)
            self._images.write(line)
            self._images.flush()
        if self._journal is not None:
            self._journal.append(line)

    def tell(self, **facts: Any) -> None:
        """Add to what `run.json` will say in the end, such as what became of each clip."""
        self._told |= facts

    def finish(self, summary: Summary) -> None:
        """Close the records and write the summary; nothing, if the run never began.

        Raises:
            WriteError: They cannot be written.
        """
        if self._images is None:
            return
        try:
            with in_words(self.working / IMAGES_FILE):
                self._images.close()
            if self._journal is not None:
                write_atomically(self.path / IMAGES_FILE, self._read_here())
            remove_journals(self.path)
        finally:
            self._images = self._journal = None
            self._write_run(summary)
            if summary.status == "finished":
                (self.path / REPLACED_FILE).unlink(missing_ok=True)

    def _read_here(self) -> bytes:
        path = self.working / IMAGES_FILE
        with in_words(path):
            return path.read_bytes()

    def _places(self) -> set[Path]:
        """Where the files of the run are kept: its directory, and the one on this machine."""
        return {self.path, self.working}

    def _write_run(self, summary: Summary) -> None:
        content = {"version": VERSION, "summary": summary.as_dict(), **self._told}
        for place in self._places():
            write_atomically(place / RUN_FILE, (json.dumps(content, indent=2) + "\n").encode())

    def write_status(self, status: JobStatus) -> None:
        """Write how a job of a sweep ended, or that it has begun.

        Raises:
            WriteError: It cannot be written.
        """
        content = {"version": VERSION, **asdict(status)}
        write_atomically(
            self.working / STATUS_FILE, (json.dumps(content, indent=2) + "\n").encode()
        )

    def read_status(self) -> JobStatus | None:
        """How a job of a sweep ended; None if it does not say.

        Raises:
            RecordError: The file is damaged.
        """
        content = _read_json(self.path / STATUS_FILE)
        return None if content is None else from_plain(JobStatus, content)

    def read_run(self) -> RunFile | None:
        """What the run said of itself last; None if it never began.

        Raises:
            RecordError: The file is damaged, or of something else.
        """
        content = _read_json(self.path / RUN_FILE)
        if content is None:
            return None
        try:
            summary = Summary.from_dict(content.pop("summary"))
        except (KeyError, TypeError, AttributeError) as error:
            path = self.path / RUN_FILE
            raise RecordError(f"{path} is not the summary of a run ({error!r})") from None
        config = content.pop("config", {})
        return RunFile(summary, config if isinstance(config, dict) else {}, content)

    def read_records(self) -> dict[str, ImageRecord]:
        """The records of the images, by name; the last one of each counts.

        Lines that are not whole, as an interrupted run may leave the last one, are passed over.
        What a run that was killed kept elsewhere counts too: in journals, and on this machine.

        Raises:
            RecordError: A file cannot be read.
        """
        paths = [self.working / IMAGES_FILE] if self.working != self.path else []
        files = [*paths, self.path / IMAGES_FILE]
        return {record.name: record for record in (*self._read(files), *self.journaled())}

    def journaled(self) -> Iterator[ImageRecord]:
        """The records that the processes of a run wrote down by themselves.

        Raises:
            RecordError: A file cannot be read.
        """
        try:
            files = journals(self.path)
        except OSError as error:
            raise RecordError(f"{self.path} cannot be read: {error.strerror or error}") from None
        return self._read(files)

    def _read(self, files: Iterable[Path]) -> Iterator[ImageRecord]:
        """The records of those files that are there."""
        for path in files:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RecordError(f"{path} cannot be read: {error.strerror or error}") from None
            for line in text.splitlines():
                with suppress(ValueError, KeyError, TypeError, AttributeError):
                    yield ImageRecord.from_dict(json.loads(line))


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings by their dotted keys."""
    if isinstance(settings, dict):
        for key, child in settings.items():
            yield from flatten(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, settings


def to_line(record: ImageRecord) -> str:
    """A record as it stands in the files, with the end of the line."""
    return json.dumps({"version": VERSION, **record.as_dict()}) + "\n"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise RecordError(f"{path} is not what bgm writes under that name")
    return content
