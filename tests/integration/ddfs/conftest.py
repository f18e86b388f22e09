"""A server that speaks S3, in a process of its own, and roots of DDFS of every kind."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("s3_server.py")


@contextmanager
def s3_server(*arguments: str) -> Iterator[str]:
    """Run a server and give its address; it is moto, not Amazon's."""
    with subprocess.Popen(
        [sys.executable, str(SERVER), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()  # which it prints when it listens
        server.terminate()


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    with s3_server() as address:
        yield address


@contextmanager
def s3_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URL of a root in a new bucket, for this process and those it starts."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem().mkdir(bucket)
    yield f"s3://{bucket}/some/ddfs"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_bucket(s3_address, monkeypatch) as url:
        yield url


@pytest.fixture
def s3_without_conditions(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give a root on a server that ignores If-Match and If-None-Match."""
    with (
        s3_server("--ignore-conditions") as address,
        s3_bucket(address, monkeypatch) as url,
    ):
        yield url


@pytest.fixture(params=["directory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a root that is a directory, and one in S3."""
    if request.param == "directory":
        return str(tmp_path / "root")
    url: str = request.getfixturevalue("s3")
    return url


@pytest.fixture
def script(root: str) -> Callable[..., "subprocess.Popen[str]"]:
    """Give a function that starts Python code in a process with that root as DISCO_DDFS."""

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "DISCO_DDFS": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
