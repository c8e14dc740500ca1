"""The fields of a request as parameters: what a command line, a REST query or a manual needs to know."""

from typing import Final

import attrs
import msgspec

from dwd.model.checks import invariant
from dwd.wire.verb import PathKind

_KINDS: Final[dict[type, type]] = {
    msgspec.inspect.BoolType: bool,
    msgspec.inspect.IntType: int,
    msgspec.inspect.FloatType: float,
    msgspec.inspect.StrType: str,
}


@attrs.frozen
class Parameter:
    """One field of a request."""

    name: str
    kind: type  # bool, int, float or str; of each value, if there may be many
    summary: str
    required: bool
    positional: bool
    many: bool
    choices: tuple[str, ...]  # empty: any
    path: PathKind | None = None  # its text is a path, as dwd.wire.shown writes it

    @property
    def option(self) -> str:
        """Its spelling on the command line."""
        return "--" + self.name.replace("_", "-")


def parameters(request: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """The parameters of a request, in the order of its fields."""
    info = msgspec.inspect.type_info(request)
    invariant(isinstance(info, msgspec.inspect.StructType), "V2", request)
    return tuple(_parameter(field) for field in getattr(info, "fields", ()))


def _parameter(field: msgspec.inspect.Field) -> Parameter:
    extra, summary, inner = _unwrapped(field.type)
    many = isinstance(inner, msgspec.inspect.VarTupleType)
    if isinstance(inner, msgspec.inspect.VarTupleType):
        inner = inner.item_type
    if isinstance(inner, msgspec.inspect.UnionType):  # X | None: absent is None
        inner = next(part for part in inner.types if not isinstance(part, msgspec.inspect.NoneType))
    choices = tuple(str(value) for value in inner.values) if isinstance(inner, msgspec.inspect.LiteralType) else ()
    kind = str if choices else _KINDS.get(type(inner))
    invariant(kind is not None, "V3", f"{field.name}: no command line can say a {inner}")
    path = extra.get("path")
    return Parameter(
        field.name,
        kind or str,
        summary,
        required=field.required,
        positional=bool(extra.get("positional")),
        many=many,
        choices=choices,
        path=path if isinstance(path, PathKind) else None,
    )


def _unwrapped(info: msgspec.inspect.Type) -> tuple[dict[str, object], str, msgspec.inspect.Type]:
    """What the Annotated of a field says, and the type under it."""
    if not isinstance(info, msgspec.inspect.Metadata):
        return {}, "", info
    schema = info.extra_json_schema or {}
    return info.extra or {}, str(schema.get("description", "")), info.type
