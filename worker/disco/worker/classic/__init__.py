"""Classic jobs: map and reduce."""
