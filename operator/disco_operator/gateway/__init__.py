"""The gateway in front of a cluster: a ``disco_gateway`` backend over the Kubernetes API."""
