"""What works with the Python of these tests, and does not with an older one that is supported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted(
    path
    for folder in ("operator", "worker")
    for path in (ROOT / folder).rglob("*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc"))
)


@pytest.mark.parametrize("folder", ["operator", "worker"])
def test_nothing_is_raised_in_an_except_star(folder: str) -> None:
    """Python 3.11.2, which is Debian's, wraps it into a group: a gateway took it for a bug.

    So the client of a job whose partition service was restarting got INTERNAL, and gave up.
    """
    found = [
        f"{path}:{handler.lineno}"
        for path in SOURCES
        if path.is_relative_to(ROOT / folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        if any(isinstance(inner, ast.Raise) for inner in ast.walk(handler))
    ]
    assert not found
