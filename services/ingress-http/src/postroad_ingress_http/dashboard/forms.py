"""The fields of forms, and the answer to a form that worked."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import RedirectResponse, Response

from postroad_common.schemas.features import Features
from postroad_ingress_http.dashboard import texts
from postroad_ingress_http.dashboard.notes import leave_notice
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.fields import Fields, require_text


def text(fields: Fields, name: str) -> str:
    """Return the field as text, empty when it was not sent.

    Raises:
        ApiError: 400, it is not text.
    """
    value = fields.get(name, "")
    return require_text(name, value) if isinstance(value, str) else ""


def texts_of(fields: Fields, name: str) -> list[str]:
    """Return the values of the check boxes `name[]`."""
    value = fields.get(name, [])
    values = value if isinstance(value, list) else [value]
    return [require_text(name, item) for item in values if isinstance(item, str)]


def words(fields: Fields, name: str) -> list[str]:
    """Return the words in a field, which commas or white space part."""
    return text(fields, name).replace(",", " ").split()


def number(fields: Fields, name: str, least: float, most: float) -> float:
    """Return the number in a field.

    Raises:
        ApiError: 400, it is none from `least` to `most`.
    """
    try:
        value = float(text(fields, name))
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise bad_field(name, f"Give a number from {least:g} to {most:g}.")
    return value


def switches(fields: Fields) -> Features:
    """Return the features whose switches are on."""
    return Features(**{name: fields.get(name) == "true" for name, _, _ in texts.FEATURE_TEXTS})


@contextmanager
def told_at(name: str) -> Iterator[None]:
    """Say of a refusal within that it is about the field `name` of the form."""
    try:
        yield
    except ApiError as error:
        error.field = name
        raise


def see_other(path: str, notice: str = "") -> Response:
    """Return the redirect that answers a form that worked; its page says `notice`."""
    answer = RedirectResponse(path, 303)
    if notice:
        leave_notice(answer, notice)
    return answer
