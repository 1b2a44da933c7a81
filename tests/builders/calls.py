"""Calls in source code that its test does not run: do the functions take what they are given?"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from typing import Any


def wrong_calls(source: str) -> Iterator[str]:
    """'line 3: Material: too many positional arguments' for calls of what the source imports from this project."""
    nodes = list(ast.walk(ast.parse(source)))
    known = {name: thing for node in nodes if isinstance(node, ast.ImportFrom) for name, thing in _imported(node)}
    for node in nodes:
        if isinstance(node, ast.Call) and (function := _called(node.func, known)) is not None:
            starred = any(isinstance(one, ast.Starred) for one in node.args) or any(not k.arg for k in node.keywords)
            bind = inspect.signature(function).bind_partial if starred else inspect.signature(function).bind
            try:
                bind(*[0 for one in node.args if not isinstance(one, ast.Starred)],
                     **{k.arg: 0 for k in node.keywords if k.arg})  # fmt: skip
            except TypeError as error:
                yield f"line {node.lineno}: {ast.unparse(node.func)}: {error}"


def _imported(node: ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    if (node.module or "").partition(".")[0] not in ("pipeline", "tests"):
        return
    package = importlib.import_module(node.module)
    for alias in node.names:
        if not hasattr(package, alias.name):
            importlib.import_module(f"{node.module}.{alias.name}")
        yield alias.asname or alias.name, getattr(package, alias.name)


def _called(function: ast.expr, known: dict[str, Any]) -> Any:
    """What is called; None where it is not the project's. AttributeError where a module has no such name."""
    if isinstance(function, ast.Name):
        found = known.get(function.id)
    elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in known:
        found = getattr(known[function.value.id], function.attr)
    else:
        return None
    return found if callable(found) and getattr(found, "__module__", "").startswith(("pipeline", "tests")) else None
