"""What a submission becomes: the DiscoJob, and the Secrets with its code. Values only."""

import base64
import hashlib
from collections.abc import Iterator, Mapping

from disco.manifest.model import MAX_CODE_PARTS
from disco_gateway.backend import Caller, NewJob
from disco_operator import names
from disco_operator.gateway.view import (
    CODE_ANNOTATION,
    REQUEST_ANNOTATION,
    SUBMITTER_ANNOTATION,
)
from disco_operator.model import API_VERSION, GATEWAY, Json

PART_BYTES = 900_000
"""Of code in one Secret, which may have 1 MiB."""
MAX_CODE_BYTES = MAX_CODE_PARTS * PART_BYTES
MAX_SUBMITTER = 1_000


def job_manifest(caller: Caller, new: NewJob) -> Json:
    """Return the DiscoJob that a submission asks for."""
    annotations = {
        REQUEST_ANNOTATION: new.request_id,
        SUBMITTER_ANNOTATION: caller.name[:MAX_SUBMITTER],
    }
    spec = dict(new.manifest_spec)
    if new.code is not None:
        annotations[CODE_ANNOTATION] = new.code_sha256
        parts = number_of_parts(new.code)
        spec["code"] = {
            "secret": {
                "name": code_secret_name(new),
                "sha256": new.code_sha256,
                **({"parts": parts} if parts > 1 else {}),
            }
        }
    return {
        "apiVersion": API_VERSION,
        "kind": "DiscoJob",
        "metadata": {
            "name": new.name,
            "namespace": new.namespace,
            "labels": dict(new.labels),
            "annotations": annotations,
        },
        "spec": spec,
    }


def is_of_request(job: Mapping[str, object], caller: Caller, new: NewJob) -> bool:
    """Return whether the same request of the same caller has made a DiscoJob before."""
    metadata = job["metadata"]
    assert isinstance(metadata, dict)
    annotations = metadata.get("annotations") or {}
    return bool(
        annotations.get(REQUEST_ANNOTATION) == new.request_id
        and annotations.get(SUBMITTER_ANNOTATION) == caller.name[:MAX_SUBMITTER]
    )


def code_secret_name(new: NewJob) -> str:
    """Return the name of the (first) Secret with a submission's code.

    It stands in the job's spec, so it cannot have a part of the job's uid. The request tells it
    from those of other jobs of the name.
    """
    digest = hashlib.sha256(f"{new.request_id}/{new.code_sha256}".encode()).hexdigest()
    return f"{new.name}-code-{digest[:8]}"


def number_of_parts(code: bytes) -> int:
    """Return over how many Secrets code is spread."""
    return max(-(-len(code) // PART_BYTES), 1)


def code_secrets(new: NewJob, job: Json) -> Iterator[Json]:
    """Yield the Secrets with a submission's code, which belong to *job*."""
    assert new.code is not None
    metadata = job["metadata"]
    owner = {
        "apiVersion": API_VERSION,
        "kind": "DiscoJob",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    for index in range(number_of_parts(new.code)):
        part = new.code[index * PART_BYTES : (index + 1) * PART_BYTES]
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": names.code_secret(code_secret_name(new), index),
                "namespace": new.namespace,
                "labels": {
                    "app.kubernetes.io/name": "disco",
                    "app.kubernetes.io/managed-by": GATEWAY,
                    names.JOB_LABEL: new.name,
                },
                "ownerReferences": [owner],
            },
            "type": "Opaque",
            "immutable": True,
            "data": {names.CODE_KEY: base64.b64encode(part).decode()},
        }
