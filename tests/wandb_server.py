"""A server on this machine that answers as Weights & Biases does, as far as a run asks it."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWNER = {"id": "e", "name": "me"}


class WandbServer:
    """What was sent to it.

    Attributes:
        asked: Paths of all requests.
        history: The lines of each run's history, by their places.
        ended: Exit codes of runs, in their order.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.history: dict[str, dict[int, dict]] = defaultdict(dict)
        self.ended: list[tuple[str, int]] = []
        self._begun: set[str] = set()

    def stream(self, run: str, content: dict) -> dict:
        """Take lines of a run's files."""
        for name, chunk in (content.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                lines = map(json.loads, chunk["content"])
                self.history[run].update(enumerate(lines, chunk["offset"]))
        if content.get("complete"):
            self.ended.append((run, content["exitcode"]))
        return {}

    def query(self, query: str, variables: dict, address: str) -> dict:
        """Answer a question in GraphQL."""
        name = re.search(r"(?:query|mutation)\s+(\w+)", query).group(1)
        run = variables.get("name", "")
        lines = self.history.get(run, {})
        project = {"id": "p", "name": variables.get("project"), "entity": OWNER}
        bucket = {"id": "b", "name": run, "displayName": run, "historyLineCount": len(lines)}
        if name == "UpsertBucket":
            self._begun.add(run)
            bucket |= {"config": "{}", "project": project, "description": None, "sweepName": None}
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if name == "RunResumeStatus":
            tail = json.dumps([json.dumps(lines[max(lines)])] if lines else [])
            bucket |= {"summaryMetrics": "{}", "logLineCount": 0, "eventsLineCount": 0}
            bucket |= {"historyTail": tail, "eventsTail": "[]", "config": "{}", "tags": []}
            bucket |= {"wandbConfig": '{"t": 1}'}
            found = bucket if run in self._begun else None
            return {"data": {"model": {**project, "bucket": found}}}
        if name == "Viewer":
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}"}
            return {"data": {"viewer": {**viewer, "teams": {"edges": []}}}}
        if name == "ServerFeaturesQuery":
            return {"data": {"serverInfo": {"features": []}}}
        if name == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{address}/put/{f}"} for f in variables["files"]]
            return {"data": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}}
        return {"errors": [{"message": f"there is no {name} here"}]}


@contextmanager
def serve() -> Iterator[tuple[WandbServer, str]]:
    """A server at work, and its address."""
    told = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def answer(self) -> None:
            told.asked.append(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            reply, code = {}, 200
            if "file_stream" in self.path:
                reply = told.stream(self.path.split("/")[4], json.loads(data))
            elif self.path.startswith("/graphql"):
                asked = json.loads(data)
                reply = told.query(asked["query"], asked.get("variables") or {}, address)
            elif not self.path.startswith("/put/"):
                code = 404
            body = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_) -> None:  # W&B hangs up on idle connections
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told, address
        server.shutdown()
