"""Which kind of store a URL names."""

from disco.ddfs.directory import DirectoryStore
from disco.ddfs.stores import Store
from disco_engine.inputs.urls import local_path, scheme_of

_S3 = ("s3", "s3a")


def store_of(url: str) -> Store:
    """Return the store whose root *url* names: a path, or anything that fsspec knows.

    Raises:
        ProgramError: FATAL: nobody knows the scheme, or its package is not installed.
    """
    path = local_path(url)
    if path is not None:
        return DirectoryStore(path)
    from disco.ddfs.objects import FsspecStore, S3Store  # need fsspec

    return S3Store(url) if scheme_of(url) in _S3 else FsspecStore(url)
