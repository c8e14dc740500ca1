"""The verb registry: complete, and all that is made from it can be made."""

from typing import Annotated, Literal

import msgspec
import pytest

from dwd.model.checks import InvariantViolated
from dwd.wire.parameters import Parameter, parameters
from dwd.wire.reports import Report
from dwd.wire.verb import AnyVerb, AuditClass, PathKind, Permission, Request, argument, option
from dwd.wire.verbs import VERBS

# Who may do what, and what the audit log says of it: a change here is a decision
MATRIX = {
    "status": (Permission.OBSERVE, AuditClass.NONE),
    "statistics": (Permission.OBSERVE, AuditClass.NONE),
    "version": (Permission.OBSERVE, AuditClass.NONE),
    "stop": (Permission.OWN, AuditClass.CHANGE),
    "config check": (Permission.OBSERVE, AuditClass.READ),
    "fsck": (Permission.OPERATE, AuditClass.READ),
    "volume show": (Permission.OBSERVE, AuditClass.READ),
    "brick ls": (Permission.OBSERVE, AuditClass.NONE),
    "brick add": (Permission.OWN, AuditClass.CHANGE),
    "brick drain": (Permission.OWN, AuditClass.DESTRUCTIVE),
    "brick replace": (Permission.OWN, AuditClass.DESTRUCTIVE),
    "brick remove": (Permission.OWN, AuditClass.DESTRUCTIVE),
    "brick weigh": (Permission.OWN, AuditClass.CHANGE),
    "brick balance": (Permission.OWN, AuditClass.CHANGE),
    "protect": (Permission.OWN, AuditClass.CHANGE),
    "where": (Permission.OPERATE, AuditClass.READ),
    "what-if lose": (Permission.OPERATE, AuditClass.READ),
    "scrub start": (Permission.OPERATE, AuditClass.CHANGE),
    "scrub status": (Permission.OBSERVE, AuditClass.NONE),
    "heal status": (Permission.OBSERVE, AuditClass.NONE),
    "heal set": (Permission.OWN, AuditClass.CHANGE),
}

every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())


def test_permissions_and_audit_classes_are_as_decided() -> None:
    """The registry says of every verb what was decided, and has no verb that was not."""
    assert {name: (verb.permission, verb.audit) for name, verb in VERBS.items()} == MATRIX


@every_verb
def test_a_verb_is_complete(verb: AnyVerb) -> None:
    """Each verb has a summary, a request and a report with a text, and each parameter a description."""
    assert verb.summary
    assert issubclass(verb.request, Request)
    assert issubclass(verb.report, Report)
    assert verb.request.__doc__
    assert verb.report.__doc__
    assert all(parameter.summary for parameter in parameters(verb.request))


@every_verb
def test_a_schema_can_be_made(verb: AnyVerb) -> None:
    """Request and report have a JSON schema: what REST and documents are made from."""
    for struct in (verb.request, verb.report):
        assert msgspec.json.schema(struct)["$defs"][struct.__name__]["type"] == "object"


@every_verb
def test_the_least_request_round_trips(verb: AnyVerb) -> None:
    """With nothing but what it must have it comes back equal; an unknown field is refused."""
    request = least(verb)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=verb.request) == request
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"surely_not": 1}), type=verb.request)


def least(verb: AnyVerb, **more: object) -> Request:
    """A request with nothing but what it must have."""
    needed = {one.name: 1 if one.kind in {int, float} else "x" for one in parameters(verb.request) if one.required}
    many = {one.name: ("1",) for one in parameters(verb.request) if one.required and one.many}
    return msgspec.convert(needed | many | more, verb.request)


@every_verb
def test_what_endangers_can_be_tried_first(verb: AnyVerb) -> None:
    """A verb that destroys has a dry run, which endangers nothing; no other verb ever asks."""
    options = {one.name for one in parameters(verb.request) if one.kind is bool}
    everything = least(verb, **dict.fromkeys(options - {"dry_run", "cancel"}, True))
    assert everything.endangers == (verb.audit is AuditClass.DESTRUCTIVE)
    if verb.audit is AuditClass.DESTRUCTIVE:
        assert not msgspec.structs.replace(everything, dry_run=True).endangers


class Everything(Request, frozen=True, kw_only=True):
    """Each kind of field that a command line can say."""

    target: Annotated[str, argument("the first", PathKind.FOLDER)]
    rest: Annotated[tuple[str, ...], argument("the others")] = ()
    count: Annotated[int, option("how many")]
    share: Annotated[float | None, option("how much")] = None
    mode: Annotated[Literal["a", "b"], option("which")] = "a"
    dry_run: Annotated[bool, option("only say it")] = False


def test_parameters_follow_the_fields() -> None:
    """Name, kind, place, need, number and choices come from the type of a field."""
    found = {parameter.name: parameter for parameter in parameters(Everything)}
    assert found["target"] == Parameter(
        "target", str, "the first", required=True, positional=True, many=False, choices=(), path=PathKind.FOLDER
    )
    assert (found["rest"].many, found["rest"].positional) == (True, True)
    assert (found["count"].kind, found["count"].required) == (int, True)
    assert (found["share"].kind, found["share"].required) == (float, False)
    assert found["mode"].choices == ("a", "b")
    assert (found["dry_run"].kind, found["dry_run"].option) == (bool, "--dry-run")


def test_a_field_that_cannot_be_typed_is_a_bug() -> None:
    """A request whose field no command line can say is found when the parser is made."""
    wrong = msgspec.defstruct("wrong", [("inner", dict[str, int])])
    with pytest.raises(InvariantViolated, match="V3"):
        parameters(wrong)
