"""What ``import radar_fast`` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import radar_fast


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
