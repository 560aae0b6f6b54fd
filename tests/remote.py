"""An S3 server on the loopback, which can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

SECRET = "a-secret-that-nobody-may-see"


class Quiet(WSGIRequestHandler):
    def log(self, *said: Any) -> None:
        pass


class S3:
    """moto's S3 server. `trouble` may answer a request (method, path) in its place."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.trouble: Callable[[str, str], int | None] = lambda method, path: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.port}"

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        code = self.trouble(method, path)
        if code is not None:
            return Response("", code)(environ, start_response)
        return self._moto(environ, start_response)

    @property
    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")

    def put_folder(self, folder: Path, url: str) -> str:
        """Put every file of a folder under a URL, which is returned."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return url

    def get(self, url: str) -> bytes:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def keys(self, url: str) -> list[str]:
        """The objects under a URL, relative to it."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/"
        )
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return sorted(key.removeprefix(f"{prefix}/") for key in found)


@contextmanager
def serving() -> Iterator[S3]:
    """A server with a bucket called `bucket`; this process and those it starts are let in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3 = S3()
        patch.setenv("AWS_ENDPOINT_URL", s3.url)
        s3.client.create_bucket(Bucket="bucket")
        try:
            yield s3
        finally:
            s3.server.shutdown()
