"""A package of one's own that brings a format, an engine, a protocol and a measure; pyproject.toml names them.

    pip install examples/plugin
    radar-fast score --engine shortest --format words --data DIR --out OUT

One module for each: it is imported while the table that it goes into is being made.
"""
