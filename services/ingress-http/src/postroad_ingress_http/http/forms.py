"""Names of form fields with brackets, as PHP and others write lists and objects in them.

`a[]=1&a[]=2` and `a[0]=1&a[1]=2` are lists, `a[x]=1` and `a[b@c.example][name]=x` objects, to any
depth that somebody needs. A plain name that is repeated is a list as well.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import cast

from postroad_ingress_http.http.errors import bad_field

MAX_DEPTH = 8
_NAME = re.compile(r"([^\[]+)((?:\[[^\[\]]*\])+)")
_KEY = re.compile(r"\[([^\[\]]*)\]")


class _Members(dict[str, object]):
    """What stands in the brackets behind one name; `following` numbers the empty ones."""

    following = 0


def collect(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Return the fields of a form.

    Raises:
        ApiError: 400, a name is given both as a value and as an object, or is nested too deep.
    """
    fields = _Members()
    for raw, value in pairs:
        found = _NAME.fullmatch(raw)
        if not found:
            _put(fields, raw, value, raw)
            continue
        name, *keys = found[1], *_KEY.findall(found[2])
        if len(keys) > MAX_DEPTH:
            raise bad_field(name, f"Brackets go {MAX_DEPTH} deep at most.")
        members = fields
        path = [name, *keys]
        for key, inner in pairwise(path):
            members = _descend(members, key, name, counted=not inner)
        _put(members, path[-1] or _number(members), value, name)
    return {name: _finish(value) for name, value in fields.items()}


def _descend(members: _Members, key: str, field: str, *, counted: bool) -> _Members:
    """Return the members of `key`, which are numbered if they are `counted`."""
    if not key:
        key = _number(members)
    child = members.setdefault(key, _Members())
    if not isinstance(child, _Members) or (counted and child and not child.following):
        raise bad_field(field, "This field is given both as a value and as an object.")
    return child


def _put(members: _Members, key: str, value: str, field: str) -> None:
    old = members.get(key)
    if isinstance(old, _Members):
        raise bad_field(field, "This field is given both as a value and as an object.")
    if old is None:
        members[key] = value
    elif isinstance(old, list):
        old.append(value)
    else:
        members[key] = [old, value]


def _number(members: _Members) -> str:
    members.following += 1
    return str(members.following - 1)


def _finish(value: object) -> object:
    if not isinstance(value, _Members):
        return value
    if all(key == str(number) for number, key in enumerate(value)):
        return [_finish(item) for item in value.values()]
    return {key: _finish(item) for key, item in cast("dict[str, object]", value).items()}
