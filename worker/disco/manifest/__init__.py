"""The DiscoJob manifest: what ``kubectl apply`` and ``disco run`` accept, as typed values."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from disco.manifest.model import DiscoJob, Spec
    from disco.manifest.parsing import ManifestError, parse_spec
    from disco.manifest.pods import PodSettings, Resources, Storage, Workers
    from disco.manifest.reading import Manifest, read_manifest

_HOMES = {
    **dict.fromkeys(("DiscoJob", "Spec"), "model"),
    **dict.fromkeys(("ManifestError", "parse_spec"), "parsing"),
    **dict.fromkeys(("PodSettings", "Resources", "Storage", "Workers"), "pods"),
    **dict.fromkeys(("Manifest", "read_manifest"), "reading"),
}

__all__ = [
    "DiscoJob",
    "Manifest",
    "ManifestError",
    "PodSettings",
    "Resources",
    "Spec",
    "Storage",
    "Workers",
    "parse_spec",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command line needs quantities often, and pydantic rarely."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
