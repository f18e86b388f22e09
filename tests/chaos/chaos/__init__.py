"""Real jobs in which everything is killed, frozen, filled or damaged, drawn from a seed."""
