"""What can be told of users' functions, and of names; ``disco.util`` offers it to programs."""

import ast
import functools
import importlib
import inspect
import os
import types
from collections.abc import Mapping
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def reify(dotted_name: str, namespace: Mapping[str, Any] | None = None) -> Any:
    """Return what *dotted_name* stands for.

    Args:
        dotted_name: ``package.module.attribute``, a name of *namespace*, or a Python literal.
        namespace: Where plain names are looked up.

    Returns:
        The object. A text that is none of the three is returned as it is.
    """
    if namespace is not None and dotted_name in namespace:
        return namespace[dotted_name]
    try:
        return ast.literal_eval(dotted_name)
    except (ValueError, SyntaxError):
        module, _, name = dotted_name.rpartition(".")
    if not module or not all(part.isidentifier() for part in dotted_name.split(".")):
        return dotted_name
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return dotted_name


def argcount(function: Any) -> int:
    """Return how many positional arguments a caller of *function* passes.

    Arguments that a ``functools.partial`` already has, and a method's ``self``, do not count.
    """
    if isinstance(function, functools.partial):
        return argcount(function.func) - len(function.args) - len(function.keywords)
    if isinstance(function, types.FunctionType):
        return function.__code__.co_argcount
    if isinstance(function, types.MethodType):
        return argcount(function.__func__) - 1
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return 0
    return sum(parameter.kind in _POSITIONAL for parameter in parameters)


def globalize(function: Any, names: Mapping[str, Any]) -> None:
    """Let *function* use *names* without importing them; names it has already are kept."""
    while isinstance(function, functools.partial):
        function = function.func
    scope = getattr(function, "__globals__", None)  # builtins and callable objects have none
    if scope is not None:
        for name, value in names.items():
            scope.setdefault(name, value)


def name_of(function: Any) -> str:
    """Return what to call a user's function in a message: "WordCount.map (wordcount.py:12)"."""
    while hasattr(function, "func"):
        function = function.func
    name = getattr(function, "__qualname__", None)
    if name is None:
        return repr(function)
    name = name.rpartition("<locals>.")[2]
    code = getattr(function, "__code__", None)
    if code is None:
        return str(name)
    return f"{name} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"
