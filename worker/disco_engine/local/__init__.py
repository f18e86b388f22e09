"""Runs the engine's own programs on this machine, supervised as a cluster would."""
