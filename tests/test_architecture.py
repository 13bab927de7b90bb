"""The house rule: a room imports only from lower floors and from its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "synaptic"
GROUND = {
    "results",
    "settings",
    "server_url",
    "events",
    "environment",
    "endpoint",
    "errors",
    "log",
    "loop",
    "terminal",
    "shipped",
    "files",
}
FLOORS = [
    {"cli", "arguments"},
    {"shell", "web"},
    {"commands"},
    {"session"},
    {"services"},
    {"services_dllama"},
    {"agents", "bench", "deploy"},
    {"engines"},
    {"discovery", "process"},
    {"planning"},
    {"cluster"},
    {"models"},
    GROUND,
    {"dllama"},
]
FLOOR = {room: depth for depth, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.stem not in ("__init__", "__main__") or path.parent != ROOT)


def imports(tree: ast.Module) -> Iterator[str]:
    """Rooms that a file imports when it runs; what only the type checker reads does not count."""
    for node in _running(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "synaptic":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synaptic."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("synaptic."))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _running(child)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_looks_only_down(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} has no floor yet: give it one"
    for other in imports(ast.parse(path.read_text())):
        allowed = other == room or FLOOR[other] > FLOOR[room] or (room in GROUND and other in GROUND)
        allowed = allowed or {room, other} <= FLOORS[0]
        assert allowed, f"{path.relative_to(ROOT)} reaches up into {other}"


def test_the_folders_of_deploy_are_floors_too() -> None:
    folders = ["profile", "services", "files", "reach"]  # the lowest first
    for path in (ROOT / "deploy").rglob("*.py"):
        own = folders.index(path.parent.name) if path.parent.name in folders else -1
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synaptic.deploy."):
                assert folders.index(str(node.module).split(".")[2]) <= own, f"{path.relative_to(ROOT)} reaches up into {node.module}"


def test_the_rule_notices_a_look_upward() -> None:
    assert list(imports(ast.parse("from synaptic.session import Session"))) == ["session"]
    assert FLOOR["session"] < FLOOR["cluster"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_over_300_lines_and_no_function_over_40(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = _last_line(node) - node.lineno + 1 - _help_lines(node)
            assert size <= 40, f"{node.name} is {size} lines"


def _help_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A command's docstring is its page of help: no part of what must fit in a glance."""
    first = node.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return _last_line(first) - first.lineno + 1 if is_text else 0


def _last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno
