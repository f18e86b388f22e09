"""Jobs on a cluster in which pods, processes, nodes, networks and disks fail, drawn from a seed."""
