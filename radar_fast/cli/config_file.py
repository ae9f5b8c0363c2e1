"""Options from a TOML file and from the environment: ``--config FILE``, ``RADAR_FAST_<OPTION>``.

What the command line says wins over the environment, that over the file. An option is called alike in all three:
``--engine-arg`` is ``engine-arg`` (or ``engine_arg``) in the file and ``RADAR_FAST_ENGINE_ARG`` in the environment. So
a new option needs nothing here.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from radar_fast.cli.options import ADVANCED, Function, grouped
from radar_fast.cli.types import PATH, ManyCommand
from radar_fast.errors import UsageError
from radar_fast.util.choices import did_you_mean
from radar_fast.util.orphans import STARTER
from radar_fast.util.printable import printable

__all__ = ["ConfiguredCommand", "config_options", "print_config"]

PREFIX = "RADAR_FAST_"
"""Of the environment's variables."""

_NOT_THERE = ("config", "print_config", "show_prompt", "help")
"""Parameters that only a command line has."""

_SOURCES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}


class ConfiguredCommand(ManyCommand):
    """A command whose options may stand in the environment, and in a file where it has :func:`config_options`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As its parents do, with the environment; a variable of ours that no option has is told."""
        options = _options(self)
        for flag, option in options.items():
            option.envvar = _variable(flag)
        known = {*map(_variable, options), STARTER}
        for name in sorted(os.environ):
            if name.startswith(PREFIX) and name not in known and not ctx.resilient_parsing:
                click.echo(f"radar-fast: {name}: no such option{did_you_mean(name, known)}: not heeded", err=True)
        return super().parse_args(ctx, args)


def config_options() -> Callable[[Function], Function]:
    """``config`` and ``print_config``, of a :class:`ConfiguredCommand`."""
    return grouped(
        click.option(
            "--config",
            type=PATH,
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=_read,
            panel=ADVANCED,
            help="Options from a TOML file, by their names; the command line and RADAR_FAST_<OPTION> in the "
            "environment overrule it.",
        ),
        click.option(
            "--print-config", is_flag=True, panel=ADVANCED, help="Print all options as such a file, and do nothing."
        ),
    )


def print_config() -> None:
    """Print the options of the current command as a TOML file, each with where it comes from."""
    ctx = get_current_context()
    for flag, option in _options(ctx.command).items():
        value = ctx.params.get(str(option.name))
        source = _SOURCES.get(ctx.get_parameter_source(str(option.name)) or ParameterSource.DEFAULT)
        click.echo(f"# {flag} = " if source is None else f"{flag} = {_toml(value)}  # {source}")


def _options(command: click.Command) -> dict[str, click.Option]:
    """Name, as on the command line but for its dashes -> option."""
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in _NOT_THERE]
    return {max(option.opts, key=len).lstrip("-"): option for option in options}


def _variable(flag: str) -> str:
    return PREFIX + flag.replace("-", "_").upper()


def _read(ctx: click.Context, param: click.Parameter, file: Path | None) -> None:  # noqa: ARG001 - click's
    """Take the file's options for defaults. Raises UsageError for one that there is not, or of the wrong type."""
    if file is None:
        return
    from radar_fast.readers.toml_file import load_toml

    options = _options(ctx.command)
    found: dict[str, Any] = {}
    for key, value in load_toml(file).items():
        flag = key.replace("_", "-")
        if flag not in options:
            shown = printable(key)
            raise UsageError(f"--config {file}: {shown}: no such option{did_you_mean(flag, options)}")
        found[str(options[flag].name)] = _as_given(f"--config {file}: {key}", options[flag], value)
    ctx.default_map = {**(ctx.default_map or {}), **found}


def _as_given(where: str, option: click.Option, value: Any) -> Any:
    """A value of the file as the command line would have it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: found {value!a:.60}; give true or false")
        return value
    if option.multiple:
        pairs = "=" in (option.metavar or "")
        if pairs and isinstance(value, Mapping):
            return [f"{name}={_text(where, one)}" for name, one in value.items()]
        return [_text(where, one) for one in (value if isinstance(value, list) else [value])]
    return _text(where, value)


def _text(where: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # of a NAME=VALUE: vLLM's own spelling
    if not isinstance(value, str | int | float):
        raise UsageError(f"{where}: found {value!a:.60}; give text, a number, or a list of them if it may be repeated")
    return str(value)


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
