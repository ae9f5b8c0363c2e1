"""A chat template is a program that came with a checkpoint: it is first run where it can do no harm.

Jinja's sandbox keeps it from files and attributes, and from nothing else: nested loops go on for days, and a string
that is multiplied fills the memory of the machine. So it renders two questions, a short and a long one, in a process of
its own with little time and memory, before it runs in this one.
"""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from radar_fast.errors import ModelError

__all__ = ["require_harmless"]

CPU_SECONDS = 5
MEMORY_BYTES = 2**29
OUTPUT_CHARACTERS = 2**20
_WALL_SECONDS = 120
"""On a machine that has much else to do."""

_LONG = "Is <|im_end|> a token, or 7 * 6 = 42 letters long? " * 40

_PROGRAM = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
try:
    from jinja2 import ext, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        tags = {{"generation"}}
        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)
        def _same(self, caller):
            return caller()

    def refuse(message):
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda how: "01 Jan 2026"
    asked = json.load(sys.stdin)
    template = environment.from_string(asked["template"])
    for messages in asked["conversations"]:
        made = 0
        for piece in template.generate(messages=messages, add_generation_prompt=True, bos_token="", eos_token=""):
            made += len(piece)
            if made > {OUTPUT_CHARACTERS}:
                sys.exit(4)
except MemoryError:
    sys.exit(4)
except Exception:
    sys.exit(3)  # whoever renders it in earnest says what is wrong
"""


def require_harmless(path: Path, template: str) -> None:
    """See that a template renders a question within its limits of time, memory and length.

    Raises:
        ModelError: it does not.
    """
    if not _is_harmless(template):
        raise ModelError(
            f"{path}: its chat template takes more than {CPU_SECONDS} s, {MEMORY_BYTES // 2**20} MiB or "
            f"{OUTPUT_CHARACTERS} characters for one question: it loops, or multiplies strings; take the template of "
            "the model that it was trained from",
            path=path,
        )


@lru_cache(maxsize=64)
def _is_harmless(template: str) -> bool:
    conversations = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in ("Why?", _LONG)
    ]
    asked = json.dumps({"template": template, "conversations": conversations})
    try:
        status = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-I", "-c", _PROGRAM],
            input=asked.encode("utf-8", "surrogatepass"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_WALL_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return False
    return status in (0, 3)
