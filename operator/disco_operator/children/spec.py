"""What a job's coordinator is started with: the specification, with a snapshot of the code.

The operator packs the code of ConfigMaps and manifests once, when the job starts, so that all
workers of the job run the same, whatever becomes of the ConfigMap. It never looks into it.
"""

import base64
from collections.abc import Mapping

from disco.manifest import message
from disco.v1 import job_pb2
from disco_operator import names
from disco_operator.children.workers import CODE_DIRS
from disco_operator.model import DiscoJob, Json

MAX_BYTES = 900_000
"""A ConfigMap may have 1 MiB, with everything around the data."""
WHERE_FROM = "/job/code"


class SpecTooLargeError(Exception):
    """A job's specification does not fit into a ConfigMap."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"spec with code and params has {size_bytes:,} bytes; at most {MAX_BYTES:,} fit into"
            " the cluster: put the code into an image or an archive, or large params into an input"
        )


def spec_config_map(job: DiscoJob, files: Mapping[str, bytes]) -> Json:
    """Return the ConfigMap with the job's specification.

    Args:
        job: The job.
        files: Content by name of the code that travels with it.

    Raises:
        SpecTooLargeError: It does not fit.
    """
    content = job_message(job, files).SerializeToString()
    if len(content) > MAX_BYTES:
        raise SpecTooLargeError(len(content))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(job, names.spec_config_map(job), names.labels(job)),
        "immutable": True,
        "binaryData": {"job.pb": base64.b64encode(content).decode()},
    }


def job_message(job: DiscoJob, files: Mapping[str, bytes]) -> job_pb2.JobSpec:
    """Return the specification that the coordinator and the workers get.

    The deadline is not among its settings: it may change while the job runs, and time in suspension
    does not count, so the operator sees to it.
    """
    assert job.spec is not None
    return message.job_message(
        job.spec,
        uid=job.uid,
        name=str(job.key),
        files=files,
        origins={name: f"{WHERE_FROM}/{name}" for name in files},
        python_path=CODE_DIRS,
    )
