"""The custom resource definition, generated from ``disco.manifest.model`` and ``status``.

``make crd`` writes charts/disco/files/crd.yaml and docs/reference/discojob.md. Nothing here runs in
a cluster.
"""
