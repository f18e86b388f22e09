"""The job's NetworkPolicy: its pods may be called by each other, the operator and the gateway."""

from disco_operator import names
from disco_operator.model import GATEWAY, MANAGER, DiscoJob, Json, OperatorSettings


def network_policy(job: DiscoJob, operator: OperatorSettings) -> Json:
    """Return the job's NetworkPolicy.

    Only what comes in is restricted: where a job's code may connect to is its author's business
    and the cluster's. Kubelets are always let through, so probes need no rule.
    """
    peers = {"podSelector": {"matchLabels": {names.JOB_LABEL: job.key.name}}}
    control_plane = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator.namespace}},
        "podSelector": {
            "matchExpressions": [
                {
                    "key": "app.kubernetes.io/part-of",
                    "operator": "In",
                    "values": [MANAGER, GATEWAY],
                }
            ]
        },
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(job, names.network_policy(job.key), names.labels(job)),
        "spec": {
            "podSelector": {"matchLabels": {names.JOB_LABEL: job.key.name}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [peers, control_plane],
                    "ports": [
                        {"port": names.COORDINATOR_PORT, "protocol": "TCP"},
                        {"port": names.PARTITION_PORT, "protocol": "TCP"},
                    ],
                }
            ],
        },
    }
