"""The control plane on Kubernetes: everything that talks to its API (not built yet)."""
