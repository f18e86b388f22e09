"""The process that owns the tasks of one job: a shell around ``core.job``, reached over gRPC."""
