"""Workers that are programs in any language: Disco's worker protocol over standard streams."""

from disco.worker.executable.worker import Executable

__all__ = ["Executable"]
