"""Compiles and fills the texts of a mail: Jinja's sandbox, with every name demanded to exist.

Runs in the worker (`worker`), where time and memory end with the process.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from postroad_ingress_http.templating.modifiers import MODIFIERS, UnfitValueError
from postroad_ingress_http.templating.problems import Kind, Problem, TemplateError
from postroad_ingress_http.templating.smarty import ALL_DATA, SmartySyntaxError, to_jinja

Escaping = Literal["html", "text", "line", "address"]
"""How values are put in: escaped for HTML, as they are, on one line, or as part of an address."""

_FILE = "<template>"
_UNFIT = "a value here is of a kind that cannot be used so"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_ADDRESS_SPECIALS = re.compile(r'["\\(),:;<>@\[\]]+')
_BARE_ADDRESS = re.compile(r"[^\s\"\\(),:;<>@\[\]]{1,254}@[^\s\"\\(),:;<>@\[\]]{1,254}")
_WORD = re.compile(r"'([^']{1,200})'")
_FORBIDDEN = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)


class Engine:
    """Fills texts; `max_octets` bounds one filled text."""

    def __init__(self, max_octets: int) -> None:
        self._max_octets = max_octets
        self._environments = {
            "html": _environment(autoescape=True),
            "text": _environment(),
            "line": _environment(finalize=_on_one_line),
            "address": _environment(finalize=_in_an_address),
        }

    def compile(self, field: str, source: str, escaping: Escaping) -> "TemplateText":
        """Return the text, ready to be filled.

        Raises:
            TemplateError: it cannot be read.
        """
        environment = self._environments[escaping]
        try:
            jinja = to_jinja(source)
            tree = environment.parse(jinja, filename=_FILE)
            _refuse_includes(field, tree)
            code = environment.compile(tree, filename=_FILE)
        except SmartySyntaxError as error:
            line, column = _place(source, error.offset)
            raise TemplateError(Problem("syntax", str(error), field, line, column)) from None
        except TemplateSyntaxError as error:
            message = error.message or "this cannot be read"
            column = _column(source, error.lineno, message)
            raise TemplateError(Problem("syntax", message, field, error.lineno, column)) from None
        except RecursionError:
            raise TemplateError(Problem("syntax", "this is nested too deep", field)) from None
        template = Template.from_code(environment, code, environment.globals)
        return TemplateText(field, source, template, self._max_octets)


class TemplateText:
    """One text of a mail, which `fill` puts the values into."""

    def __init__(self, field: str, source: str, template: Template, max_octets: int) -> None:
        self._field = field
        self._source = source
        self._template = template
        self._max_octets = max_octets

    def fill(self, data: Mapping[str, Any], mail: int) -> str:
        """Return the text for the recipient with the index `mail`.

        Raises:
            TemplateError: a variable is not known, or a value cannot be used.
        """
        pieces: list[str] = []
        room = self._max_octets
        try:
            for piece in self._template.generate({**data, ALL_DATA: data}):
                pieces.append(piece)
                room -= len(piece.encode())
                if room < 0:
                    break
        except UndefinedError as error:
            raise self._error("unknown_variable", error, mail) from None
        except SecurityError as error:
            raise self._error("not_allowed", error, mail) from None
        except (OverflowError, MemoryError) as error:
            raise self._error("too_large", error, mail) from None
        except UnfitValueError as error:
            raise self._error("value", error, mail) from None
        except Exception as error:  # noqa: BLE001 - a filter may raise anything for odd values
            raise self._error("value", error, mail, _UNFIT) from None
        if room < 0:
            message = f"it becomes larger than {self._max_octets} octets"
            raise TemplateError(Problem("too_large", message, self._field, mail=mail))
        return "".join(pieces)

    def _error(
        self, kind: Kind, error: Exception, mail: int, message: str | None = None
    ) -> TemplateError:
        message = message or str(error)[:200] or "it does not fit into memory"
        line = _line(error)
        column = _column(self._source, line, message)
        return TemplateError(Problem(kind, message, self._field, line, column, mail))


def _refuse_includes(field: str, tree: nodes.Template) -> None:
    if (wrong := next(tree.find_all(_FORBIDDEN), None)) is not None:
        message = "a template cannot include another"
        raise TemplateError(Problem("not_allowed", message, field, wrong.lineno))


def _environment(**options: Any) -> ImmutableSandboxedEnvironment:
    environment = _Sandbox(
        undefined=_Missing,
        # `{#` begins a comment in Jinja, and a rule for an id in a style sheet without spaces.
        comment_start_string="{##",
        comment_end_string="##}",
        keep_trailing_newline=True,
        cache_size=0,
        **options,
    )
    environment.filters.update(MODIFIERS)
    environment.filters.pop("pprint", None)
    environment.globals = {"range": environment.globals["range"]}
    return environment


class _Missing(StrictUndefined):
    """A name that the data does not have: an error wherever it is used."""

    @property
    def _undefined_message(self) -> str:
        name = f"'{self._undefined_name}'"
        if self._undefined_obj is missing:
            return f"{name} is not given"
        return self._undefined_hint or f"{name} is not there"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which multiplies and raises numbers only."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(side, int | float) for side in (left, right)):
            raise UnfitValueError(f"`{operator}` takes numbers")
        if operator == "**" and (abs(left) > 1e6 or abs(right) > 64):
            raise OverflowError("the power is too large")
        return super().call_binop(context, operator, left, right)


def _on_one_line(value: object) -> object:
    return _CONTROL.sub(" ", value) if isinstance(value, str) else value


def _in_an_address(value: object) -> object:
    """Return an address as it is, and other text without what has a meaning among addresses."""
    if not isinstance(value, str):
        return value
    value = _CONTROL.sub(" ", value)
    return value if _BARE_ADDRESS.fullmatch(value) else _ADDRESS_SPECIALS.sub(" ", value)


def _line(error: BaseException) -> int:
    """Return the line of the template where `error` was raised."""
    line = 1
    traceback = error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _column(source: str, line: int, message: str) -> int:
    """Return the column of what `message` quotes; of the line's first tag where it quotes nothing.

    Jinja counts lines and not columns.
    """
    lines = source.split("\n")
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    tag = text.find("{")
    for quoted in _WORD.findall(message):
        found = re.compile(rf"(?<!\w){re.escape(quoted)}(?!\w)").search(text, max(tag, 0))
        if found:
            return found.start() + 1
    return max(tag, 0) + 1


def _place(source: str, offset: int) -> tuple[int, int]:
    """Return line and column of `offset`."""
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)
