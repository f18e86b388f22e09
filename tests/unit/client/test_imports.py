"""Who does not use the client does not pay for it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("what", "absent"),
    [
        ("import disco", "grpc disco.core disco.client pydantic yaml"),
        ("import disco.program", "grpc disco.client pathspec pydantic yaml asyncio"),
        ("import disco.cli.main", "grpc disco.core disco.client.aio pydantic"),
        ("from disco import Disco, Job; Disco('local')", "disco.client pathspec pydantic yaml"),
        ("import disco.client.config", "grpc pydantic yaml"),
    ],
)
def test_the_client_is_imported_when_it_is_used(what: str, absent: str) -> None:
    program = f"{what}\nimport sys\nprint([n for n in {absent.split()!r} if n in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")
