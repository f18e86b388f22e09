"""The backend that runs jobs on this machine, without Kubernetes: what ``disco serve`` starts."""
