"""The Secret with which a job's processes know each other."""

import base64
from collections.abc import Mapping

from disco_operator import names
from disco_operator.model import DiscoJob, Json


def identity_secret(job: DiscoJob, files: Mapping[str, bytes]) -> Json:
    """Return the job's Secret.

    Args:
        job: The job.
        files: Content by key: "token", "ca.crt", "tls.crt", "tls.key".
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names.metadata(job, names.identity_secret(job), names.labels(job)),
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
