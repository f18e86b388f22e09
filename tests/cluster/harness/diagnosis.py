"""What a person wants to see of a cluster when a test failed."""

import json
from collections.abc import Iterator

from harness.jobs import JOB_LABEL, ROLE_LABEL, RunningJob
from harness.kubectl import Api, Object, kubectl
from harness.release import Operator

_LOG_LINES = 40
_ROLES = ("coordinator", "partition-service", "worker")


def of_namespace(api: Api, namespace: str, operator: Operator | None) -> str:
    """Return jobs, pods, events and logs of a namespace as text."""
    parts = [
        *_jobs(api, namespace),
        *_pods(api, namespace),
        *_events(api, namespace),
        *_logs(api, namespace),
    ]
    if operator is not None:
        parts += ["", "--- operator", operator.logs()]
    return "\n".join(parts)


def _jobs(api: Api, namespace: str) -> Iterator[str]:
    for job in api.list("discojobs", namespace):
        yield f"--- DiscoJob {job['metadata']['name']}"
        yield json.dumps(job.get("status", {}), indent=1)


def _pods(api: Api, namespace: str) -> Iterator[str]:
    yield "--- pods"
    for pod in api.list("pods", namespace):
        status = pod.get("status", {})
        containers = [
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        ]
        yield " ".join(
            [
                f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', '-')}:",
                status.get("phase", "-"),
                "(terminating)" if "deletionTimestamp" in pod["metadata"] else "",
                *(_container(container) for container in containers),
            ]
        )


def _container(status: Object) -> str:
    words = [status["name"], "ready" if status.get("ready") else "not ready"]
    words.append(f"restarts={status.get('restartCount', 0)}")
    for when in ("state", "lastState"):
        for state, details in status.get(when, {}).items():
            if state != "running":
                said = f"{details.get('reason', '')} {details.get('message', '')}"
                words.append(f"{when}: {state} {details.get('exitCode', '')} {said}".strip())
    return f"[{', '.join(words)}]"


def _events(api: Api, namespace: str) -> Iterator[str]:
    yield "--- events"
    events = api.list("events", namespace)
    for event in sorted(events, key=lambda e: str(e["metadata"]["creationTimestamp"])):
        about = event.get("regarding", {})
        yield " ".join(
            [
                event["metadata"]["creationTimestamp"],
                event.get("type", ""),
                event.get("reason", ""),
                f"{about.get('kind')}/{about.get('name')}:",
                event.get("note", ""),
            ]
        )


def _logs(api: Api, namespace: str) -> Iterator[str]:
    for job in api.list("discojobs", namespace):
        running = RunningJob(api, namespace, job["metadata"]["name"])
        for role in _ROLES:
            yield f"--- logs of {running.name}, {role}"
            yield running.logs(role, _LOG_LINES)
    for pod in api.list("pods", namespace, JOB_LABEL):
        statuses = pod.get("status", {}).get("containerStatuses", ())
        if any(status.get("restartCount", 0) for status in statuses):
            name, role = pod["metadata"]["name"], pod["metadata"]["labels"].get(ROLE_LABEL)
            yield f"--- logs of {name} ({role}) before it was restarted"
            options = ("--previous", f"--tail={_LOG_LINES}")
            yield kubectl("-n", namespace, "logs", name, *options, check=False).stdout
