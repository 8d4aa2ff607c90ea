"""The stored templates of an account: made, changed, and read for sending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postroad_common.store.templates import MailTemplate, Templates, TemplateVersion
from postroad_ingress_http.http.errors import ApiError, not_found
from postroad_ingress_http.sending.fieldtexts import FieldTexts
from postroad_ingress_http.templating.problems import TemplateError
from postroad_ingress_http.templating.renderer import Renderer

MAX_TEMPLATES = 1000  # per account
MAX_OCTETS = 2 << 20  # of what one version says


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A template with what one of its versions says: the fields of a mail, not yet filled."""

    template: MailTemplate
    version: TemplateVersion
    content: Mapping[str, Any]


class TemplateLibrary:
    """Reads and changes templates; the account is always checked.

    What a version says is kept by name: fields of `SendFields`, `mime` as text.
    """

    def __init__(self, store: Templates, renderer: Renderer) -> None:
        self._store = store
        self._renderer = renderer

    async def list(self, account: str, after: str, limit: int) -> Sequence[MailTemplate]:
        """Return the templates of the account behind the name `after`, by name."""
        return await self._store.list(account, after, limit)

    async def find(self, account: str, name: str) -> MailTemplate:
        """Return the template of this id or name.

        Raises:
            ApiError: 404.
        """
        found = await self._store.find(account, name)
        if found is None:
            raise not_found("template")
        return found

    async def read(self, account: str, name: str, version: int | None = None) -> StoredTemplate:
        """Return the template of this id or name, in the version in use or another.

        Raises:
            ApiError: 404, there is no such template or version.
        """
        found = await self.find(account, name)
        chosen = found.version if version is None else found.numbered(version)
        if chosen is None:
            raise not_found("version of this template")
        content = await self._store.content(account, chosen)
        if content is None:
            raise not_found("version of this template")
        return StoredTemplate(found, chosen, content)

    async def create(self, account: str, name: str, content: Mapping[str, Any]) -> StoredTemplate:
        """Add a template whose texts can be read.

        Raises:
            ApiError: 409, the name is taken or there are too many; 422, a text cannot be read.
        """
        await self._check(account, content)
        if await self._store.count(account) >= MAX_TEMPLATES:
            raise ApiError(409, f"There are {MAX_TEMPLATES} templates already.")
        made = await self._store.create(account, name, content)
        if made is None:
            raise _taken()
        return StoredTemplate(made, made.version, content)

    async def change(
        self, account: str, name: str, new_name: str | None, content: Mapping[str, Any]
    ) -> StoredTemplate:
        """Make `content` the version in use, and give the template another name if there is one.

        Raises:
            ApiError: 404; 409, the name is taken, or somebody else changes it; 422.
        """
        found = await self.find(account, name)
        await self._check(account, content)
        if new_name is not None and new_name != found.name:
            renamed = await self._store.rename(account, found.id, new_name)
            if renamed is None:
                raise _taken()
            found = renamed
        changed = await self._store.add_version(found, content)
        if changed is None:
            raise ApiError(409, "Somebody else has changed this template; read it again.")
        return StoredTemplate(changed, changed.version, content)

    async def delete(self, account: str, name: str) -> None:
        """Remove the template of this id or name with all its versions.

        Raises:
            ApiError: 404.
        """
        found = await self.find(account, name)
        await self._store.delete(account, found.id)

    async def _check(self, account: str, content: Mapping[str, Any]) -> None:
        if sum(len(str(value)) for value in content.values()) > MAX_OCTETS:
            raise ApiError(413, f"A template has at most {MAX_OCTETS} characters.")
        try:
            await self._renderer.check(account, FieldTexts(content).sources)
        except TemplateError as error:
            raise refusal(error) from None


def refusal(
    error: TemplateError, template: str | None = None, recipients: Sequence[str] = ()
) -> ApiError:
    """Return 422: what is wrong with a template, where, and for which of the recipients."""
    problem = error.problem
    where = f"{problem.field}, line {problem.line}, column {problem.column}"
    if template is not None:
        where = f"template {template}, {where}"
    if problem.mail is not None and problem.mail < len(recipients):
        where += f", for {recipients[problem.mail]}"
    return ApiError(
        422,
        f"{problem.message.rstrip('.')} ({where}).",
        code=f"template_{problem.kind}",
        field=problem.field,
        details={"template": template, "line": problem.line, "column": problem.column},
    )


def _taken() -> ApiError:
    return ApiError(409, "There is a template of this name already.", field="name")
