"""Which module may import which, what is public, and what the root folder must not shadow."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from radar_fast.engines.vllm.compat import installed_version

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "radar_fast"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "kernels" not in path.parts and path.name != "__main__.py")

LAYERS: tuple[set[str], ...] = (
    {"errors", "scores", "kernels"},
    {"util"},
    {"sample", "shard", "steps"},
    {"images"},
    {"oddities"},
    {"models", "readers", "conditions", "results"},
    {"protocols", "inspection", "writers", "terminal"},
    {"gate", "trackers", "report"},
    {"exports"},
    {"engines.options", "engines.stream"},
    {"engines.base", "engines.device", "engines.head"},
    {"engines.encode", "engines.fake"},
    {"engines.transformers", "engines.vllm", "engines.http"},
    {"engines"},
    {"engines.session"},
    {"config"},
    {"finished", "benchmark", "windows"},
    {"prepare", "recording"},
    {"run"},
    {"likelihoods"},
    {"series", "training", "harness", "lmms", "own_samples"},
    {"farm"},
    {"watch"},
    {"demo"},
    {"bench"},
    {"cli"},
)
"""Lowest first, by the longest name that fits. A module imports only from layers below its own, or within its room."""

WINGS = ("engines.transformers", "engines.vllm")
"""The engines that run a model; neither knows of the other."""

LEVEL = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def dotted(path: Path) -> str:
    """The module's name below radar_fast."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str | None:
    """The module's place in LAYERS: the longest prefix of its name that is there."""
    parts = name.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((name for name in names if name in LEVEL), None)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs, or may run: everything but what only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


def imported(path: Path) -> set[str]:
    """Modules of ours that a module imports, anywhere in its code, as names below radar_fast."""
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("radar_fast."):
            module = node.module.removeprefix("radar_fast.")
            inside = [f"{module}.{alias.name}" for alias in node.names if is_module(f"{module}.{alias.name}")]
            found |= set(inside)
            if len(inside) < len(node.names):
                found.add(module)
        elif isinstance(node, ast.ImportFrom) and node.module == "radar_fast":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("radar_fast.") for alias in node.names if alias.name.startswith("radar_fast.")
            }
    return found


def is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    name = dotted(path)
    if name == "__init__":
        return
    here = room(name)
    assert here is not None, f"{name} has no layer yet: give it one in LAYERS"
    for other in imported(path):
        there = room(other)
        assert there is not None, f"{other} has no layer yet: give it one in LAYERS"
        assert there == here or LEVEL[there] < LEVEL[here], f"{name} imports {other}, which is not below it"


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports; the package's own names stand for the package."""
    graph = {dotted(path): imported(path) for path in MODULES}
    return {
        name: {other if other in graph else "__init__" for other in others if room(other) != "kernels"}
        for name, others in graph.items()
    }


def reached(graph: dict[str, set[str]], name: str) -> set[str]:
    """Everything that a module imports, or that is imported by that."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


@pytest.mark.parametrize(("wing", "other"), [WINGS, WINGS[::-1]])
def test_the_wings_never_import_each_other(wing: str, other: str) -> None:
    """Nor through a room that they share."""
    graph = import_graph()
    mine = [name for name in graph if room(name) == wing]
    assert mine
    for name in mine:
        theirs = sorted(found for found in reached(graph, name) if room(found) == other)
        assert not theirs, f"{name} reaches {theirs[0]}"


def test_no_circles() -> None:
    """In all imports, those within functions too."""
    graph = import_graph()
    assert len(graph) > 100
    circles = sorted(name for name in graph if name in reached(graph, name))
    assert not circles, f"in a circle: {', '.join(circles)}"


def test_a_circle_would_be_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert reached(graph, "a") == {"a", "b", "c"}
    assert "d" not in reached(graph, "d")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_all_is_there_and_true(path: Path) -> None:
    names = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if names.startswith("radar_fast.engines.vllm.") and installed_version() is None:
        pytest.skip("needs vLLM")
    if names == "radar_fast.lmms.model" and find_spec("lmms_eval") is None:
        pytest.skip("needs lmms-eval")
    module = importlib.import_module(names)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert hasattr(module, name)


def fresh(code: str, folder: Path = ROOT) -> None:
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_imports_no_engine() -> None:
    fresh(
        "import sys, radar_fast; "
        "heavy = {'torch', 'transformers', 'vllm', 'triton'} & set(sys.modules); assert not heavy, heavy"
    )


def test_the_root_does_not_shadow_the_kernels_library() -> None:
    fresh(
        "import importlib.util, os; spec = importlib.util.find_spec('kernels'); "
        "assert spec is None or spec.origin is None or not spec.origin.startswith(os.getcwd() + os.sep), spec"
    )
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert (PACKAGE / "kernels").is_symlink()
    assert (PACKAGE / "kernels").resolve() == ROOT / "kernels"


def test_every_error_of_ours_is_a_radar_error() -> None:
    import radar_fast
    from radar_fast import errors

    for name in errors.__all__:
        if name == "one_line":
            continue
        assert issubclass(getattr(errors, name), radar_fast.RadarError)
        assert name in radar_fast.__all__
