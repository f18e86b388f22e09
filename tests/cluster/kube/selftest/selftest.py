#!/usr/bin/env python3
"""Proof that `kube` makes a real cluster: python3 selftest.py [-v] [Test.test_...].

Needs root, and the package registries to build its image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAME = "selftest"
KUBE = str(HERE.parent / "kube")
IMAGE = "kube-selftest:1"
FETCH = "import urllib.request as u; print(u.urlopen('http://{}', timeout=5).read().decode())"


def kube(*argv: str, check: bool = True, text: str | None = None) -> str:
    """Run the tool on the test's cluster."""
    result = subprocess.run(
        [KUBE, *argv],
        capture_output=True,
        text=True,
        env=os.environ | {"KUBE_NAME": NAME},
        input=text,
        timeout=400,
    )
    if check and result.returncode:
        raise AssertionError(
            f"kube {' '.join(argv)}: {result.stdout[-2000:]}{result.stderr[-2000:]}"
        )
    return result.stdout


def kubectl(*argv: str, check: bool = True, text: str | None = None) -> str:
    """Run kubectl in the cluster's network."""
    return kube("exec", "--", "kubectl", *argv, check=check, text=text)


def get(*argv: str) -> Any:
    """What `kubectl get -o json` says."""
    return json.loads(kubectl("get", "-o", "json", *argv))


def until(check: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait for something true."""
    end = time.monotonic() + timeout
    while True:
        try:
            if result := check():
                return result
        except (AssertionError, KeyError, json.JSONDecodeError):
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise AssertionError("timed out")
        time.sleep(0.5)


def traces() -> list[str]:
    """What a cluster of this name has on the machine."""
    found = [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if f"/{NAME}/" in line or f"netns/{NAME}" in line
    ]
    found += [
        n
        for n in subprocess.check_output(["ip", "netns", "list"], text=True).splitlines()
        if n.startswith(NAME)
    ]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/disco-kube/{NAME}")]
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"disco-kube/{NAME}")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                f"_boot\0{NAME}\0" in (process / "cmdline").read_text()
                or f"disco-kube/{NAME}/" in (process / "cgroup").read_text()
            ):
                found.append(str(process))
        except OSError:
            pass
    return found


def timed(what: str, function: Callable[[], Any]) -> None:
    """Report how long something took."""
    begin = time.monotonic()
    function()
    print(f"  {what}: {time.monotonic() - begin:.1f} s", file=sys.stderr)


def setUpModule() -> None:
    """Bring up three nodes with the test's image and objects."""
    timed("image build", lambda: kube("image", "build", "-t", IMAGE, str(HERE / "image")))
    timed("up, 3 nodes", lambda: kube("up", "--nodes", "3"))
    timed("image load", lambda: kube("image", "load", IMAGE))
    timed("objects applied", lambda: kubectl("apply", "-f", str(HERE / "objects.yaml")))
    timed(
        "3 pods with volumes ready",
        lambda: kubectl("rollout", "status", "statefulset/peers", "--timeout=90s"),
    )


def tearDownModule() -> None:
    """Take it down and look for what is left."""
    print(kube("status"), file=sys.stderr)
    if os.environ.get("KEEP"):
        return
    timed("down", lambda: kube("down"))
    assert not traces(), traces()


class Test(unittest.TestCase):
    """Checks on one cluster, independent of each other; those that break nodes come last."""

    def python(self, pod: str, code: str) -> str:
        """Run Python in a pod."""
        return kubectl("exec", pod, "--", "python", "-c", code)

    def fetch(self, pod: str, host: str) -> str:
        """GET http://host/ from a pod."""
        return self.python(
            pod,
            FETCH.format(f"{host}/"),
        ).strip()

    def test_a_network(self) -> None:
        """Pods on three nodes reach each other by address, service, name and node port."""
        pods = {p["metadata"]["name"]: p for p in get("pods", "-l", "app=peers")["items"]}
        self.assertEqual(
            {p["spec"]["nodeName"] for p in pods.values()}, {"node-1", "node-2", "node-3"}
        )
        for source in pods:
            for target, pod in pods.items():
                kubectl("exec", source, "--", "ping", "-c1", "-W2", pod["status"]["podIP"])
                self.assertEqual(self.fetch(source, f"{pod['status']['podIP']}:8080"), target)
                self.assertEqual(self.fetch(source, f"{target}.peers:8080"), target)
        address = get("service", "web")["spec"]["clusterIP"]
        for host in (address, "web", "web.default.svc.cluster.local", "10.89.0.12:30080"):
            self.assertEqual({self.fetch("peers-0", host) for _ in range(20)}, set(pods), host)
        addresses = self.python(
            "peers-1",
            "import socket; print(sorted(a[4][0] for a in socket.getaddrinfo('peers', 1, type=1)))",
        )
        self.assertEqual(
            addresses.strip(), str(sorted(p["status"]["podIP"] for p in pods.values()))
        )
        for host in (
            address,
            "web",
            "10.89.0.11:30080",
        ):  # and the control plane's network reaches services
            answer = kube(
                "exec",
                "--",
                sys.executable,
                "-c",
                FETCH.format(f"{host}/"),
            )
            self.assertIn(answer.strip(), pods)

    def test_a_policy(self) -> None:
        """A NetworkPolicy keeps pods out, on all nodes, unless their labels let them in."""

        def policy(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
            return {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": kind.lower()},
                "spec": {"podSelector": {"matchLabels": {"app": "guarded"}}, "policyTypes": [kind]}
                | spec,
            }

        friend = {"podSelector": {"matchLabels": {"friend": "yes"}}}
        kubectl(
            "run",
            "guarded",
            f"--image={IMAGE}",
            "--labels=app=guarded",
            "--overrides",
            '{"spec": {"nodeName": "node-1"}}',
        )
        for node in ("node-1", "node-2"):
            kubectl(
                "run",
                f"caller-{node}",
                f"--image={IMAGE}",
                "--overrides",
                json.dumps({"spec": {"nodeName": node}}),
            )
        kubectl(
            "wait",
            "pod",
            "guarded",
            "caller-node-1",
            "caller-node-2",
            "--for=condition=Ready",
            "--timeout=60s",
        )
        address = get("pod", "guarded")["status"]["podIP"]

        def reach(pod: str, host: str = f"{address}:8080") -> bool:
            try:
                return bool(self.fetch(pod, host))
            except AssertionError:
                return False

        callers = ("caller-node-1", "caller-node-2")
        self.assertEqual([reach(c) for c in callers], [True, True])
        kubectl(
            "apply",
            "-f",
            "-",
            text=json.dumps(
                policy("Ingress", {"ingress": [{"from": [friend], "ports": [{"port": 8080}]}]})
            ),
        )
        until(lambda: not reach(callers[0]))
        self.assertEqual([reach(c) for c in callers], [False, False])
        kubectl("label", "pod", *callers, "friend=yes")
        until(lambda: all(reach(c) for c in callers), 10)
        other = get("pod", "peers-0")["status"]["podIP"]
        self.assertTrue(reach("guarded", f"{other}:8080"))
        kubectl(
            "apply", "-f", "-", text=json.dumps(policy("Egress", {"egress": [{"to": [friend]}]}))
        )
        until(lambda: not reach("guarded", f"{other}:8080"), 10)
        kubectl("delete", "networkpolicy", "ingress", "egress")
        until(lambda: reach("guarded", f"{other}:8080"), 10)

    def test_a_outside(self) -> None:
        """Nothing in the cluster reaches or even resolves an outside address.

        203.0.113.0/24 is for documentation.
        """
        probe = (
            "import socket\nfor host in ('203.0.113.1', 'outside.example'):\n"
            "  try: socket.create_connection((host, 80), 3); print('reached', host)\n"
            "  except OSError as e: print(type(e).__name__, e)"
        )
        for answer in (
            self.python("peers-0", probe),
            kube("exec", "--", sys.executable, "-c", probe),
        ):
            self.assertNotIn("reached", answer)
            self.assertIn("gaierror", answer)
        for netns in (NAME, f"{NAME}-node-1"):
            self.assertNotIn(
                "default", subprocess.check_output(["ip", "-n", netns, "route"], text=True)
            )

    def test_a_volumes(self) -> None:
        """A claim is bound, not written by root, and still there for the pod's successor."""
        self.assertEqual({c["status"]["phase"] for c in get("pvc")["items"]}, {"Bound"})
        self.python("peers-2", "open('/data/kept', 'w').write('kept')")
        kubectl("delete", "pod", "peers-2", "--grace-period=1")
        kubectl("rollout", "status", "statefulset/peers", "--timeout=60s")
        self.assertEqual(self.python("peers-2", "print(open('/data/kept').read())").strip(), "kept")
        kubectl(
            "apply",
            "-f",
            "-",
            text=json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "brief"},
                    "spec": {
                        "accessModes": ["ReadWriteMany"],
                        "resources": {"requests": {"storage": "1Mi"}},
                    },
                }
            ),
        )
        kubectl("wait", "pvc/brief", "--for=jsonpath={.status.phase}=Bound", "--timeout=30s")
        volume = get("pvc", "brief")["spec"]["volumeName"]
        kubectl("delete", "pvc", "brief")
        kubectl("wait", f"pv/{volume}", "--for=delete", "--timeout=30s")

    def test_a_service_account(self) -> None:
        """A pod reads the API with its token and verifies the API server's certificate."""
        self.assertRegex(
            kubectl("exec", "peers-0", "--", "python", "/app/read_api.py"), r"^[1-9]\d* pods"
        )
        self.assertIn(
            "no",
            kubectl(
                "auth",
                "can-i",
                "create",
                "pods",
                "--as=system:serviceaccount:default:default",
                check=False,
            ),
        )

    def test_a_logs_and_forwarding(self) -> None:
        """kubectl logs and port-forward."""
        self.assertIn("serving", kubectl("logs", "peers-0"))
        script = (
            "kubectl port-forward pod/peers-1 18080:8080 >/dev/null & trap 'kill $!' EXIT; "
            "for i in $(seq 50); do sleep 0.1; "
            f'{sys.executable} -c "{FETCH.format("127.0.0.1:18080")}" 2>/dev/null && exit; '
            "done; exit 1"
        )
        self.assertEqual(kube("exec", "--", "sh", "-c", script).strip(), "peers-1")

    def test_a_limits(self) -> None:
        """A pod over its memory limit is killed by the kernel, and Kubernetes says so."""
        kubectl(
            "run",
            "greedy",
            f"--image={IMAGE}",
            "--restart=Never",
            "--overrides",
            json.dumps(
                {
                    "spec": {
                        "containers": [
                            {
                                "name": "greedy",
                                "image": IMAGE,
                                "command": ["python", "-c", "x = bytearray(200 << 20)"],
                                "resources": {"limits": {"memory": "64Mi"}},
                            }
                        ]
                    }
                }
            ),
        )
        state = until(
            lambda: get("pod", "greedy")["status"]["containerStatuses"][0]["state"]["terminated"]
        )
        self.assertEqual(state["reason"], "OOMKilled")

    def test_a_operator(self) -> None:
        """A kopf operator in a pod sees a custom object and writes its status."""
        kubectl("apply", "-f", str(HERE / "operator.yaml"))
        self.greet("pod")

    def test_a_operator_outside(self) -> None:
        """The operator as a process in the control plane's network; $KOPF is the kopf program."""
        if "KOPF" not in os.environ:
            self.skipTest("KOPF names no kopf program")
        with subprocess.Popen(
            [
                KUBE,
                "exec",
                "--name",
                NAME,
                "--",
                os.environ["KOPF"],
                "run",
                "--all-namespaces",
                "--standalone",
                str(HERE / "image/greeter.py"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as operator:
            try:
                self.greet("host")
            finally:
                operator.terminate()

    def greet(self, name: str) -> None:
        """Create a Greeting and wait for the operator's answer."""
        kubectl(
            "apply",
            "-f",
            "-",
            text=json.dumps(
                {
                    "apiVersion": "test.kube/v1",
                    "kind": "Greeting",
                    "metadata": {"name": name},
                    "spec": {"who": name},
                }
            ),
        )
        self.assertEqual(
            until(lambda: get("greeting", name)["status"]["created"]["text"]), f"hello {name}"
        )
        kubectl("delete", "greeting", name)

    def test_a_helm(self) -> None:
        """helm installs, upgrades, and removes a chart."""
        kube(
            "exec", "--", "helm", "install", "hello", str(HERE / "chart"), "--wait", "--timeout=60s"
        )
        self.assertRegex(self.fetch("peers-0", "hello"), "^hello-")
        kube(
            "exec",
            "--",
            "helm",
            "upgrade",
            "hello",
            str(HERE / "chart"),
            "--set",
            "replicas=1",
            "--wait",
            "--timeout=60s",
        )
        self.assertIn("deployed", kube("exec", "--", "helm", "list"))
        kube("exec", "--", "helm", "uninstall", "hello", "--wait")

    def test_b_wrappers(self) -> None:
        """`kube env` makes kubectl work outside the cluster's network."""
        script = f'eval "$({KUBE} env --name {NAME})"; kubectl version; helm list'
        self.assertIn(
            "Server Version: v1.37", subprocess.check_output(["sh", "-c", script], text=True)
        )

    def deployment(self) -> None:
        """A deployment spread over the nodes."""
        kube(
            "exec",
            "--",
            "helm",
            "upgrade",
            "--install",
            "spread",
            str(HERE / "chart"),
            "--set",
            "replicas=4",
            "--wait",
            "--timeout=90s",
        )

    def nodes_of(self, app: str) -> list[str]:
        """The nodes of an application's pods that are ready and not being deleted."""
        return [
            p["spec"]["nodeName"]
            for p in get("pods", "-l", f"app={app}")["items"]
            if "deletionTimestamp" not in p["metadata"]
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in p["status"].get("conditions", [])
            )
        ]

    def ready(self, node: str) -> bool:
        """Whether the API server takes a node for ready."""
        return any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in get("node", node)["status"]["conditions"]
        )

    def lose_and_regain(self, lose: str, regain: str, node: str) -> None:
        """Lose a node, and its pods come up elsewhere; regain it, and it is as good as new."""
        self.deployment()
        self.assertIn(node, self.nodes_of("spread"))
        kube("node", lose, node)
        timed(f"{lose}: node not ready", lambda: until(lambda: not self.ready(node)))
        timed(
            f"{lose}: 4 pods ready elsewhere",
            lambda: until(lambda: (n := self.nodes_of("spread")) and len(n) == 4 and node not in n),
        )
        kube("node", regain, node)
        timed(f"{regain}: node ready", lambda: until(lambda: self.ready(node)))
        timed(
            f"{regain}: pods settled",
            lambda: until(lambda: len(get("pods", "-l", "app=spread")["items"]) == 4),
        )
        timed(
            f"{regain}: stateful pods ready",
            lambda: kubectl("rollout", "status", "statefulset/peers", "--timeout=90s"),
        )

    def test_c_kill(self) -> None:
        """Power cut of a node."""
        self.lose_and_regain("kill", "start", "node-2")

    def test_c_partition(self) -> None:
        """Pulled cable of a node."""
        self.lose_and_regain("partition", "heal", "node-3")

    def test_c_stop(self) -> None:
        """Shutdown of a node."""
        self.lose_and_regain("stop", "start", "node-2")

    def test_d_control_plane(self) -> None:
        """The control plane restarts and finds its objects; pods never noticed."""
        before = get("pod", "peers-0")["metadata"]["uid"]
        kube("node", "kill", "control")
        kube("up")
        self.assertEqual(get("pod", "peers-0")["metadata"]["uid"], before)
        self.assertEqual(self.fetch("peers-0", "peers-1.peers:8080"), "peers-1")

    def test_e_grow(self) -> None:
        """A running cluster takes another node, and the node has the images."""
        kube("up", "--nodes", "4")
        kubectl(
            "run", "late", f"--image={IMAGE}", "--overrides", '{"spec": {"nodeName": "node-4"}}'
        )
        kubectl("wait", "pod/late", "--for=condition=Ready", "--timeout=60s")
        self.assertEqual(self.fetch("late", "peers-0.peers:8080"), "peers-0")


if __name__ == "__main__":
    unittest.main(failfast="-f" in sys.argv)
