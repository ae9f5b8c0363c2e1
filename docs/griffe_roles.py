"""For the library reference: Sphinx's roles in docstrings become links of the site."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|data|func|meth|mod|attr|exc):`(~?)([\w.]+)`")


def as_link(found: re.Match[str]) -> str:
    """``:class:`~radar_fast.sample.Reason` `` -> `` `Reason` ``; a page of its own may not exist, the name does."""
    short, name = found.groups()
    return f"`{name.rpartition('.')[2] if short else name}`"


class Roles(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002 (griffe passes more)
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(as_link, obj.docstring.value)
