"""Disco: MapReduce and multi-stage pipelines in plain Python."""
