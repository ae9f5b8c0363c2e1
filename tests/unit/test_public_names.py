"""What ``import radar_fast`` offers, and what it costs."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import radar_fast
from radar_fast.engines.encode.context import EngineContext


def test_names_come_from_where_readers_of_types_find_them() -> None:
    body = ast.parse(Path(radar_fast.__file__).read_text()).body
    [typed] = [node for node in body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    imported = {
        str(node.module).removeprefix("radar_fast."): {alias.name for alias in node.names}
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
    }
    assert {module: set(names) for module, names in radar_fast._HOMES.items()} == imported
    assert set().union(*imported.values(), {"__version__"}) == set(radar_fast.__all__)
    assert set(radar_fast.__all__) <= set(dir(radar_fast))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    assert not hasattr(radar_fast, "warp")


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, radar_fast; print([name for name in sys.modules if name.startswith('radar_fast.')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


HANDED_ON = {"EngineContext", "Layout", "ReportServer", "Row"}
"""Types that a public name gives or takes, and that nobody has to look into."""


def annotated(public: Any) -> Iterator[Any]:
    """A public name, and of a class its methods and properties too."""
    yield public
    for name, member in vars(public).items() if inspect.isclass(public) else ():
        if not name.startswith("_"):
            inner = member.fget if isinstance(member, property) else getattr(member, "func", member)
            inner = getattr(inner, "__func__", inner)
            if inspect.isfunction(inner):
                yield inner


def types_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__.startswith("radar_fast"):
        yield hint
    for inner in get_args(hint):
        yield from types_in(inner)


def test_the_types_of_what_is_public_are_public() -> None:
    public = [getattr(radar_fast, name) for name in radar_fast.__all__ if name not in ("ENGINES", "__version__")]
    seen = {
        found.__name__
        for each in public
        for place in annotated(each)
        for hint in get_type_hints(place, localns={"EngineContext": EngineContext}).values()
        for found in types_in(hint)
        if found not in public
    }
    assert seen == HANDED_ON
