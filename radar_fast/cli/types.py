"""Parameter types: names that complete and are told the closest, options that take many words, patterns, pairs."""

import glob
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem

from radar_fast.cli.help import Command
from radar_fast.errors import UsageError
from radar_fast.util.choices import check_one_of
from radar_fast.util.paths import checked_path

__all__ = ["PATH", "Choice", "Many", "ManyCommand", "Naming", "expanded", "given", "in_order", "pairs_of", "spread"]


class _PathType(click.Path):
    """A path that can be one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises UsageError for what cannot be one."""
        return super().convert(checked_path(_called(param), value), param, ctx)


def _called(param: click.Parameter | None) -> str:
    """A parameter as its user knows it."""
    if param is None:
        return "a path"
    return param.opts[0] if isinstance(param, click.Option) else str(param.metavar or param.name).upper()


PATH = _PathType(path_type=Path)


class Choice(click.ParamType):  # type: ignore[type-arg] # generic since click 8.5, at run time too
    """One of a few names: the shell completes them, and a wrong one is told the closest."""

    name = "name"

    def __init__(self, choices: Callable[[], Iterable[str]]) -> None:
        """``choices``: gives the names; called when one is needed, so that help imports nothing for them."""
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """The value as it is. Raises UsageError where it is none of the choices."""
        option = param.opts[0].lstrip("-") if param is not None else self.name
        check_one_of(option, str(value), self.choices())
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002 - click's
        """What stands for the value in the help, whose text has the choices."""
        return "NAME"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[CompletionItem]:
        """The choices that begin with what is there."""
        return [CompletionItem(choice) for choice in self.choices() if choice.startswith(incomplete)]


class Naming(click.RichOption):
    """An option of type :class:`Choice` whose help names the choices, but for ``auto``, where it says ``{choices}``: a
    new reader, protocol or engine is in the help by being in its table."""

    _text: str | None = None

    @property
    def help(self) -> str | None:
        """The help, made when it is asked for."""
        if self._text is None or not isinstance(self.type, Choice):
            return self._text
        return self._text.format(choices=", ".join(name for name in self.type.choices() if name != "auto"))

    @help.setter  # noqa: A003 - an attribute of click's
    def help(self, text: str | None) -> None:
        self._text = text


class Many(click.RichOption):
    """An option that takes every word up to the next option, and may be repeated."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, multiple=True, **attributes)


class ManyCommand(Command):
    """A command, without arguments of its own, whose :class:`Many` options take many words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with ``--model A B`` read as ``--model A --model B``."""
        many = {name for param in self.params if isinstance(param, Many) for name in param.opts}
        try:
            args = spread(args, many)
        except UsageError:
            if not ctx.resilient_parsing:  # else a shell asks what may follow a line that is not done
                raise
        return super().parse_args(ctx, args)


def spread(words: Sequence[str], many: Iterable[str]) -> list[str]:
    """The words of a command line, with the option's name put before each further value of an option in ``many``.

    Raises UsageError where such an option has no value at all.
    """
    spread_out: list[str] = []
    flag: str | None = None
    waiting = False
    for position, word in enumerate(words):
        if word == "--":
            return [*spread_out, *words[position:]]
        if waiting and word.startswith("-"):
            raise UsageError(f"{flag}: needs a value, found {word}")
        if waiting or (flag is None and not word.startswith("-")):
            spread_out.append(word)
            waiting = False
        elif word.startswith("-"):
            name, equals, _ = word.partition("=")
            flag = name if name in many else None
            waiting = flag is not None and not equals
            spread_out.append(word)
        else:
            spread_out += [str(flag), word]
    return spread_out


def expanded(option: str, values: Iterable[str]) -> list[Path]:
    """Folders as they were named, patterns among them replaced by the folders that match, in the order of their
    numbers.

    Raises UsageError for a pattern that matches no folder, and for what cannot be a path.
    """
    folders: list[Path] = []
    for value in values:
        folder = checked_path(option, value)
        if folder.exists() or not glob.has_magic(value):
            folders.append(folder)
            continue
        found = [path for path in map(Path, glob.glob(value)) if path.is_dir()]  # noqa: PTH207 - a path of its own
        if not found:
            raise UsageError(f"{option} {value}: matches no folder")
        folders += sorted(found, key=_by_number)
    return in_order(folders)


def in_order(folders: Sequence[Path]) -> list[Path]:
    """The folders in the order given, unless that is the alphabet's, as a shell's own pattern gives it: then by the
    numbers in their names, step-200 before step-1000."""
    as_text = [str(folder) for folder in folders]
    return sorted(folders, key=_by_number) if as_text == sorted(as_text) else list(folders)


def _by_number(path: Path) -> list[tuple[int, int, str]]:
    return [
        (int(part), 0, part) if part.isdecimal() else (-1, 1, part) for part in re.split(r"(\d+)", str(path)) if part
    ]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: the others have no value here, and the default of what they go into."""
    return {name: value for name, value in options.items() if value is not None}


def pairs_of(option: str, texts: Iterable[str], *, repeats: bool = False) -> list[tuple[str, str]]:
    """``NAME=VALUE`` texts, taken apart. Raises UsageError for another form, and for a name that comes twice unless
    ``repeats``."""
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} {text}: is not of the form NAME=VALUE")
        if not repeats and name in dict(pairs):
            raise UsageError(f"{option} {text}: {name} is given twice")
        pairs.append((name, value))
    return pairs
