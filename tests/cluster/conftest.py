"""A real cluster with the operator in it, and a fresh namespace for each test.

`make test-cluster` provides the cluster; or KUBECONFIG and DISCO_TEST_IMAGE name one.
"""

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from harness import diagnosis, kubectl, nodes, release, settings, volumes
from harness import gateway as door
from harness.namespaces import Namespace

# Losing a node, and waiting for whoever has to notice, takes a minute by itself.
_TIMEOUT_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder more time than the others."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


class Kubectl(Protocol):
    """Runs kubectl; see harness.kubectl."""

    def __call__(
        self, *args: str, stdin: str | bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl with these arguments."""


@pytest.fixture(scope="session")
def cluster() -> settings.Settings:
    """The cluster and the image to test."""
    try:
        return settings.Settings.from_environment()
    except settings.UnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def image(cluster: settings.Settings) -> str:
    """The project's image, as the nodes know it."""
    return cluster.image


@pytest.fixture(scope="session")
def api(cluster: settings.Settings) -> Iterator[kubectl.Api]:
    """The API server, with the rights of KUBECONFIG."""
    with kubectl.proxy() as api:
        yield api


@pytest.fixture(scope="session", name="kubectl")
def run_kubectl(cluster: settings.Settings) -> Kubectl:
    """The kubectl program."""
    return kubectl.kubectl


@pytest.fixture(scope="session")
def operator(api: kubectl.Api, image: str) -> release.Operator:
    """The operator, installed with the chart's defaults."""
    operator = release.Operator(api, image)
    operator.install()
    return operator


@pytest.fixture(scope="session")
def gateway(
    api: kubectl.Api, operator: release.Operator, tmp_path_factory: pytest.TempPathFactory
) -> door.Gateway:
    """The gateway of the release."""
    return door.Gateway(api, operator, tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def namespace(api: kubectl.Api, operator: release.Operator) -> Iterator[Namespace]:
    """A fresh namespace; at the end nothing of its jobs may be left."""
    space = Namespace.create(api, "test")
    yield space
    space.leave()


@pytest.fixture
def bare_namespace(api: kubectl.Api) -> Iterator[Namespace]:
    """A fresh namespace, for tests that need no operator."""
    space = Namespace.create(api, "bare")
    yield space
    space.remove()


@pytest.fixture
def other_namespace(api: kubectl.Api, operator: release.Operator) -> Iterator[Namespace]:
    """Another one, for tests of what jobs may not do to each other."""
    space = Namespace.create(api, "other")
    yield space
    space.leave()


@pytest.fixture
def shared_volume(
    namespace: Namespace, cluster: settings.Settings, api: kubectl.Api, image: str
) -> volumes.Volume:
    """A volume that the jobs of the namespace mount at /shared, and the test's way into it."""
    return volumes.shared_volume(api, namespace.name, image, cluster.local)


@pytest.fixture
def cluster_nodes(api: kubectl.Api, cluster: settings.Settings) -> Iterator[nodes.Nodes]:
    """The nodes, to be broken; all are put right in the end."""
    if cluster.local is None:
        pytest.skip("the nodes of this cluster are not ours to break; run `make test-cluster`")
    broken = nodes.Nodes(api, cluster.local)
    yield broken
    broken.restore()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what the cluster looks like."""
    report = yield
    if report.failed and report.when in ("call", "teardown"):
        found = getattr(item, "funcargs", {})
        for name in ("namespace", "other_namespace"):
            if isinstance(space := found.get(name), Namespace):
                text = diagnosis.of_namespace(space.api, space.name, found.get("operator"))
                report.sections.append((f"cluster, {name} {space.name}", text))
    return report
