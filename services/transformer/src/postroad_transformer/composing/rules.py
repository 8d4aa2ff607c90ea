"""What is the same for all messages of this installation."""

from dataclasses import dataclass, replace

from postroad_common.schemas.submission import Submission
from postroad_transformer.composing.headers import HeaderRules
from postroad_transformer.css.engines import EngineName


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for all messages: names, URLs, the engine."""

    header: HeaderRules
    base_url: str
    engine: EngineName = "css-inline"

    def at(self, host: str | None) -> "Rules":
        """Return the same with `host` in the tracking URLs; what comes after the host stays."""
        if host is None:
            return self
        scheme, _, rest = self.base_url.partition("://")
        base = f"{scheme}://{host}{rest[rest.find('/') :] if '/' in rest else ''}"
        url = None if self.header.unsubscribe_url is None else base
        return replace(self, base_url=base, header=replace(self.header, unsubscribe_url=url))

    def for_header(self, submission: Submission) -> HeaderRules:
        """Return what applies to the header of this submission."""
        if submission.list_unsubscribe is None:
            return self.header
        url = self.base_url.rstrip("/") if submission.list_unsubscribe else None
        return replace(self.header, unsubscribe_url=url)
