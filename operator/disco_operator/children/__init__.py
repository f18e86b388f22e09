"""The Kubernetes objects that a job consists of: functions from a job to manifests."""
