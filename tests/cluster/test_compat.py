"""Programs written for Disco, on a cluster: the suite of ``tests/compat`` through the gateway."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.gateway import ADDRESS, HOST, Gateway, token_of
from harness.namespaces import Namespace

from disco.client.config import Config, Context, save, set_context

SUITE = Path(__file__).parents[1] / "compat"


@pytest.mark.timeout(1800)
def test_programs_written_for_disco_run_on_a_cluster(
    gateway: Gateway, namespace: Namespace, tmp_path: Path
) -> None:
    """The names that need no engine are tested elsewhere; files of this machine are not seen."""
    context = Context(
        server=f"disco://{ADDRESS}",
        token=token_of(namespace),
        ca_file=str(gateway.ca_file),
        server_name=HOST,
        namespace=namespace.name,
    )
    environment = {
        **os.environ,
        "DISCO_CONFIG": str(tmp_path / "config.yaml"),
        "DISCO_COMPAT_MASTER": "compat",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    save(set_context(Config(), "compat", context), Path(environment["DISCO_CONFIG"]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cluster", SUITE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " passed" in done.stdout
