"""The arguments of the command line: a parser made from the verb registry, and requests made from what it found.

Rules: a request's fields are its arguments (dwd.wire.parameters), and its defaults are theirs. No
verb is known here by name. One that may destroy something has --yes, which is for whoever asks first.
What cannot be understood raises Usage and never ends the process.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeAlias

import msgspec

from dwd.model.errors import Refusal
from dwd.wire.parameters import Parameter, parameters
from dwd.wire.verb import AnyVerb, AuditClass, PathKind, Request

_FIELD: Final = "field_"  # before a request's field among the parsed arguments: none can hide an option of ours


class Usage(Refusal):
    """The command line cannot be understood."""

    code = "usage"


class NotConfirmed(Refusal):
    """Somebody has to say yes to it first."""

    code = "not-confirmed"


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process, and guesses no option from its beginning."""

    def __init__(self, prog: str | None = None, *, description: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            Usage: always.
        """
        raise Usage(f"{message} ({' '.join(self.format_usage().split())})")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - what add_subparsers gives has no other name


def add_verbs(commands: Commands, verbs: Mapping[str, AnyVerb]) -> None:
    """Add every verb; one of two words below its first."""
    groups: dict[str, Commands] = {}
    for verb in verbs.values():
        *group, word = verb.words
        if group and group[0] not in groups:
            members = " | ".join(other.words[-1] for other in verbs.values() if other.words[0] == group[0])
            grouped = commands.add_parser(group[0], help=members)
            groups[group[0]] = grouped.add_subparsers(metavar="COMMAND", required=True)
        _add_verb(groups[group[0]] if group else commands, word, verb)


def add_common(parser: Parser) -> None:
    """Add what every command has."""
    parser.add_argument("--data", metavar="DIR", help="the data folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _add_verb(commands: Commands, word: str, verb: AnyVerb) -> None:
    parser = commands.add_parser(word, help=verb.summary, description=verb.summary)
    parser.set_defaults(verb=verb.name)
    add_common(parser)
    if verb.audit is AuditClass.DESTRUCTIVE:
        parser.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
    for parameter in parameters(verb.request):
        _add_parameter(parser, parameter)


def _add_parameter(parser: Parser, parameter: Parameter) -> None:
    """Absent arguments stay absent: the request's own default counts."""
    dest = _FIELD + parameter.name
    choices = parameter.choices or None
    if parameter.positional:
        nargs = {(False, False): "?", (False, True): "*", (True, False): None, (True, True): "+"}
        parser.add_argument(
            dest,
            metavar=parameter.name.upper(),
            help=parameter.summary,
            type=parameter.kind,
            choices=choices,
            nargs=nargs[parameter.required, parameter.many],
            default=argparse.SUPPRESS,
        )
    elif parameter.kind is bool:
        parser.add_argument(
            parameter.option, dest=dest, help=parameter.summary, action="store_true", default=argparse.SUPPRESS
        )
    else:
        parser.add_argument(
            parameter.option,
            dest=dest,
            help=parameter.summary,
            type=parameter.kind,
            choices=choices,
            action="append" if parameter.many else "store",
            required=parameter.required,
            default=argparse.SUPPRESS,
        )


def request_of(
    verb: AnyVerb, parsed: argparse.Namespace, complete: Callable[[PathKind, str], str] | None = None
) -> Request:
    """The request that was typed; `complete` makes of a typed path what the daemon is to read.

    Raises:
        Usage: a value is out of its range.
    """
    fields = {name.removeprefix(_FIELD): value for name, value in vars(parsed).items() if name.startswith(_FIELD)}
    if complete is not None:
        kinds = {one.name: one.path for one in parameters(verb.request) if one.path is not None and one.name in fields}
        fields |= {name: complete(kind, fields[name]) for name, kind in kinds.items()}
    try:
        return msgspec.convert(fields, verb.request)
    except msgspec.ValidationError as error:
        raise Usage(f"{verb.name}: {error}") from error
