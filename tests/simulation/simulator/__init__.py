"""A whole job in one thread: the real programs on simulated clocks, networks and disks."""
