"""What runs a job: task state, coordinator, partition service, worker, local engine."""
