"""Run one small DiscoJob and delete it: what `helm test` does in a pod, with the standard library.

The job needs no storage: its inputs are two texts in URLs. Its reduce function knows the totals.
"""

import argparse
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

CODE = """\
from disco import Job

EXPECTED = {"map": 3, "shuffle": 1, "reduce": 2}


class Small(Job):
    partitions = 1

    @staticmethod
    def map(text, params):
        for word in text.split():
            yield word, 1

    @staticmethod
    def reduce(pairs, params):
        totals = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        if totals != EXPECTED:
            raise ValueError(f"counted {totals}, expected {EXPECTED}")
        return totals.items()
"""


def manifest(name: str, timeout_s: int, pull_secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the DiscoJob; should this program be killed, it ends and goes away by itself."""
    resources = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    return {
        "apiVersion": "discoproject.org/v1alpha1",
        "kind": "DiscoJob",
        "metadata": {"name": name},
        "spec": {
            "job": "small:Small",
            "code": {"inline": CODE},
            "imagePullSecrets": [{"name": secret} for secret in pull_secrets],
            "inputs": ["raw://map shuffle map", "raw://reduce map reduce"],
            "workers": {"replicas": 1, "slots": 1, "resources": resources},
            "coordinator": {"resources": resources},
            "partitionService": {"replicas": 1, "resources": resources},
            "activeDeadlineSeconds": timeout_s,
            "ttlSecondsAfterFinished": 300,
        },
    }


class Api:
    """The DiscoJobs of one namespace, over HTTP."""

    def __init__(self, server: str, namespace: str, token: str, tls: ssl.SSLContext | None) -> None:
        self._url = f"{server}/apis/discoproject.org/v1alpha1/namespaces/{namespace}/discojobs"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._tls = tls

    def create(self, job: Mapping[str, Any]) -> None:
        """Create *job*."""
        if self._call("POST", self._url, job) is None:
            raise SystemExit("The API server knows no DiscoJob: is the definition installed?")

    def get(self, name: str) -> dict[str, Any] | None:
        """Return the job of that name, or None."""
        return self._call("GET", f"{self._url}/{name}")

    def delete(self, name: str) -> None:
        """Delete the job of that name, if there is one, and then what belongs to it."""
        self._call("DELETE", f"{self._url}/{name}", {"propagationPolicy": "Background"})

    def _call(self, method: str, url: str, body: Any = None) -> dict[str, Any] | None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                reason = _message(error.read().decode(errors="replace"))
            raise SystemExit(f"{method} {url}: {error.code} {reason}") from error
        except OSError as error:
            raise SystemExit(f"{method} {url}: {error}") from error


def _message(answer: str) -> str:
    """Return the sentence in the API server's answer."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer


def run(api: Api, job: Mapping[str, Any], timeout_s: int, *, poll_s: float = 1) -> None:
    """Run a job to its end, and delete it whatever that was.

    Raises:
        SystemExit: It did not succeed; with what is known of why.
    """
    deadline = time.monotonic() + timeout_s
    name = job["metadata"]["name"]
    _remove(api, name, deadline, poll_s)
    api.create(job)
    print(f"created DiscoJob {name}", flush=True)
    try:
        _follow(api, name, deadline, poll_s)
    except SystemExit as failure:
        print(failure, flush=True)  # in case that deleting fails too
        raise
    finally:
        _remove(api, name, time.monotonic() + 30, poll_s)
        print(f"deleted DiscoJob {name}", flush=True)


def _follow(api: Api, name: str, deadline: float, poll_s: float) -> None:
    """Print what changes until the job succeeds."""
    started, told = time.monotonic(), ""
    while True:
        job = api.get(name)
        if job is None:
            raise SystemExit(f"Somebody deleted DiscoJob {name}.")
        status = job.get("status", {})
        conditions = {c["type"]: c for c in status.get("conditions", [])}
        news = "\n".join(_lines(status.get("phase", "not seen yet"), conditions))
        if news != told:
            told = news
            print(f"after {time.monotonic() - started:.0f} s: {news}", flush=True)
        if _holds(conditions, "Succeeded"):
            return
        if _holds(conditions, "Failed"):
            raise SystemExit(f"The job failed: {conditions['Failed'].get('message')}")
        if time.monotonic() > deadline:
            raise SystemExit(
                f"The job did not end in time. What was known last:\n{news}"
                if status
                else "No operator answered in time. Does it run, and does it watch this namespace?"
            )
        time.sleep(poll_s)


def _lines(phase: str, conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [phase] + [
        f"  {kind}={c['status']} {c.get('reason', '')}: {c.get('message', '')}"
        for kind, c in sorted(conditions.items())
    ]


def _holds(conditions: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    return conditions.get(kind, {}).get("status") == "True"


def _remove(api: Api, name: str, deadline: float, poll_s: float) -> None:
    """Delete the job, also one that an earlier test left, and wait until it is gone."""
    while api.get(name) is not None:
        if time.monotonic() > deadline:
            raise SystemExit(f"DiscoJob {name} cannot be deleted: look at its finalizers.")
        api.delete(name)
        time.sleep(poll_s)


def main() -> None:
    """Run it with the rights of the pod."""
    options = argparse.ArgumentParser()
    options.add_argument("--namespace", required=True)
    options.add_argument("--name", required=True)
    options.add_argument("--timeout", type=int, required=True, metavar="SECONDS")
    options.add_argument("--image-pull-secret", action="append", default=[], metavar="NAME")
    given = options.parse_args()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    api = Api(
        f"https://{host}:{port}",
        given.namespace,
        (ACCOUNT / "token").read_text(),
        ssl.create_default_context(cafile=ACCOUNT / "ca.crt"),
    )
    run(api, manifest(given.name, given.timeout, given.image_pull_secret), given.timeout)
    print("The job counted its words and succeeded.")


if __name__ == "__main__":
    main()
