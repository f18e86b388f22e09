"""Which cluster and which image the tests use: read from the environment, once."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TOOL = Path(__file__).resolve().parents[1] / "kube" / "kube"
CHART = Path(__file__).resolve().parents[3] / "charts" / "disco"


class UnavailableError(Exception):
    """There is no cluster to test on; the message says what is missing and how to get one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the tests run against.

    Attributes:
        image: The project's image, as the nodes know it.
        local: Name of the cluster of ``kube/`` that it is; None: somebody else's, whose nodes
            are not ours to kill.
    """

    image: str
    local: str | None

    @classmethod
    def from_environment(cls) -> Self:
        """Return what KUBECONFIG, DISCO_TEST_IMAGE and, from the tool, KUBE_NAME say.

        Raises:
            UnavailableError: They do not say enough.
        """
        advice = "run `make test-cluster`, or set KUBECONFIG and DISCO_TEST_IMAGE"
        if not os.environ.get("KUBECONFIG"):
            raise UnavailableError(f"no cluster: KUBECONFIG is not set; {advice}")
        image = os.environ.get("DISCO_TEST_IMAGE")
        if not image:
            raise UnavailableError(f"no image: DISCO_TEST_IMAGE is not set; {advice}")
        for program in ("kubectl", "helm"):
            if shutil.which(program) is None:
                raise UnavailableError(f"{program} is not on the PATH; {advice}")
        return cls(image=image, local=os.environ.get("KUBE_NAME"))
