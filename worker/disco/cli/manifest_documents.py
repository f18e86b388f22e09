"""The objects that ``kubectl apply`` needs for a job that no server has seen.

From what would be sent to plain data; nothing is written.
"""

import io
import zipfile
from typing import Any, NamedTuple

from disco.client.submitting import Submission
from disco.manifest.model import API_VERSION, KIND
from disco.manifest.quantities import size_text
from disco.payload import split_payload
from disco.v1 import job_pb2

_CONFIG_MAP_BYTES = 1_000_000
"""etcd takes 1 MiB, the names and all else included."""

_SAID_IN_SPEC = frozenset({"params", "partitions"})


class Rendered(NamedTuple):
    """The objects, and why the code is not one of them; empty: it is, or none is needed."""

    objects: list[dict[str, Any]]
    missing: list[str]


def rendered(submission: Submission, *, namespace: str) -> Rendered:
    """Return the DiscoJob, after a ConfigMap with its code if that is possible.

    Args:
        submission: What would be sent.
        namespace: Of the objects; empty: that of kubectl's context.
    """
    name = submission.name or submission.name_prefix or "job"
    spec = dict(submission.spec)
    objects: list[dict[str, Any]] = []
    missing: list[str] = []
    if submission.code:
        files, missing = _flat_files(submission)
        if not missing:
            spec = _after_job(spec, {"configMap": {"name": f"{name}-code"}})
            objects.append(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": _metadata(f"{name}-code", namespace),
                    "data": files,
                }
            )
    metadata = _metadata(name, namespace)
    if submission.labels:
        metadata["labels"] = dict(submission.labels)
    objects.append({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
    return Rendered(objects, missing)


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, **({"namespace": namespace} if namespace else {})}


def _after_job(spec: dict[str, Any], code: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with its code where a reader looks for it."""
    others = {name: value for name, value in spec.items() if name != "job"}
    return {"job": spec["job"], "code": code, **others}


def _flat_files(submission: Submission) -> tuple[dict[str, str], list[str]]:
    """Return the files of a ConfigMap, or what keeps the code out of one."""
    code = job_pb2.JobCode.FromString(submission.code)
    header, body = split_payload(code.payload)
    missing = []
    if body:
        missing.append("the job is pickled, because it, or its arguments, cannot be imported")
    if unsaid := header.jobargs.keys() - _SAID_IN_SPEC:
        missing.append(f"arguments that only a submission brings: {', '.join(sorted(unsaid))}")
    files: dict[str, str] = {}
    with zipfile.ZipFile(io.BytesIO(code.modules_zip or _EMPTY_ZIP)) as archive:
        for name in archive.namelist():
            if "/" in name:
                missing.append(f"{name} is in a directory, and a ConfigMap has none")
                continue
            try:
                files[name] = archive.read(name).decode()
            except UnicodeDecodeError:
                missing.append(f"{name} is not text")
    size = sum(len(name) + len(text.encode()) for name, text in files.items())
    if size > _CONFIG_MAP_BYTES:
        missing.append(f"its files have {size_text(size)}, and a ConfigMap 1 MB at most")
    return files, missing


_EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
