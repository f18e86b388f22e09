"""Clients of a gateway: ``disco.v1.Jobs`` for programs with an event loop, and without."""
