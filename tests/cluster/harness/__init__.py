"""What the tests of this folder need to talk to a cluster, break it, and run jobs in it."""
