"""A real Kubernetes cluster for tests, on one Linux machine: no Docker, no registry, no way out.

Each machine of a cluster (`control`, `node-1`, `node-2`, ...) is PID 1 of its own mount, PID, UTS
and IPC namespaces inside a named network namespace, and keeps its own /var, /tmp and /run. So a
node runs unmodified containerd, kubelet and kube-proxy at their usual paths; killing its PID 1 is a
power cut; and once the PID 1s are dead no process, mount or socket is left. The machines share one
bridge and have routes to each other only. See README.md.
"""
