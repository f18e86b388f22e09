"""Pipelines: any number of stages, connected by labels."""
