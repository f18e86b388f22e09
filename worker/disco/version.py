"""Which version of the library this is."""

from importlib import metadata


def client_version() -> str:
    """Return the version of this library, or "source" if it is not installed."""
    try:
        return metadata.version("disco-k8s")
    except metadata.PackageNotFoundError:
        return "source"
