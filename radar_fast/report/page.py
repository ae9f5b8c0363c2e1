"""The page itself: template, style and scripts put together, under a policy that lets nothing else run or be fetched.

Whatever comes from result folders is packed in blocks of data, which no browser runs, and reaches the page as text
nodes. The policy names the one script and the one style by their hashes: markup in a question could not run even if it
became markup.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["SCRIPTS", "page"]

SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "figure.js",
    "controls.js",
    "glance.js",
    "curves.js",
    "radar.js",
    "onset.js",
    "heat.js",
    "sample.js",
    "flips.js",
    "worth.js",
    "speed.js",
    "runs.js",
    "main.js",
)
"""In the order in which they run, as one."""


def page(title: str, blocks: Mapping[str, str], *, images: str = "data:") -> bytes:
    """The whole page, in UTF-8.

    Args:
        title: of the window.
        blocks: id of an element -> its text, which holds no ``<``.
        images: sources of pictures that the policy allows.
    """
    style = _asset("style.css")
    script = '(async () => {\n"use strict";\n' + "\n".join(map(_asset, SCRIPTS)) + "\n})();"
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src {images}; "
        "base-uri 'none'; form-action 'none'"
    )
    fields = {
        "policy": html.escape(policy, quote=False),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "blocks": "\n".join(
            f'<script type="application/octet-stream" id="{html.escape(name)}">{block}</script>'
            for name, block in blocks.items()
        ),
    }
    # In one pass: what a field holds is not looked at for the names of others.
    filled = re.sub(r"\{\{(\w+)\}\}", lambda found: fields[found[1]], _asset("template.html"))
    return filled.encode("utf-8", "replace")


def _asset(name: str) -> str:
    return resources.files("radar_fast.report").joinpath("page", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
