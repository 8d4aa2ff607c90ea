"""Bounces written for people: known by their sentences, and by how they were sent.

`formats.toml` lists the sentences of the world's mail servers. A mail is only looked at this way
when it was sent the way bounces are sent (null return path, or a mailer daemon as author), so that
a person who quotes a bounce is not taken for one. Which of the words are about the recipient:
`passages`.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from postroad_common.mail.classification import Classification
from postroad_common.mail.decoding import decode_words
from postroad_common.mail.mime import Part

_SPACES = re.compile(r"\s+")
_DAEMON = re.compile(
    r"mailer-?daemon|mail-?daemon|post[-_]?master|mail delivery (?:sub)?system|"
    r"mail delivery service|maildelivery|microsoftexchange[0-9a-f]{8}|mail administrator|"
    r"mailadmin|mail system|"
    r"mdaemon|bounce[sd]?\b|mailer\b|delivery-?(?:system|failure|status)|no-?reply.{0,20}delivery",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver|not deliver|non[ -]?deliver|returned (?:mail|message|e-?mail)|failure notice|"
    r"fail(?:ed|ure)[^a-z]{0,3}(?:deliver|notice|report)|deliver[a-z]*[^a-z]{1,3}(?:status|fail|"
    r"problem|error|delay|report|incomplete)|mail (?:failure|error)|could(?: not|n't) be delivered|"
    r"message (?:status|bounce|undeliver|delayed)|bounce|delayed mail|"
    r"warning: (?:could not|message)|nondeliverable|unzustell|nicht zustell|zustell|fehlgeschlagen|"
    r"onbestelbaar|niet bezorg|"
    r"non remis|non distribu|(?:é|e)chec|retour de courrier|no entregado|devuelto|devolvid|"
    r"n(?:ã|a)o entregue|falha|mancata consegna|mancato recapito|"
    r"non recapitabile|не доставлен|недоставлен|"
    r"nie mo(?:ż|z)na dostarczy|niedostarczon|nedoru(?:č|c)|inte leverer|ej leverer|ikke lever|"
    r"ei (?:voitu )?toimit|teslim edilem|iletilem|k(?:é|e)zbes(?:í|i)thetetlen|nelivra|"
    r"no se (?:ha |pudo |puede )?entreg|n(?:ã|a)o foi poss(?:í|i)vel entregar|"
    r"παράδοση|παραδόθηκε|не вдалося доставити|недоставлено|לא נמסר|תקלת מסירה|تعذر التسليم|"
    r"kh(?:ô|o)ng g(?:ử|u)i (?:đ|d)(?:ư|u)(?:ợ|o)c|tidak terkirim|gagal terkirim|"
    r"退信|退回|系统退信|投递失败|未送达|无法送达|傳遞失敗|傳送失敗|配信|不達|送信エラー|"
    r"반송|전송 실패|배달되지",
    re.IGNORECASE,
)
_LIST_FIELDS = ("list-id", "list-unsubscribe", "list-post", "list-unsubscribe-post")
_DELAY = re.compile(
    r"delay|warning|still being|not yet|verz(?:ö|oe)ger|retard|vertraagd|ritard", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of bounce text and the sentences it is known by."""

    name: str
    delayed: bool
    phrases: tuple[str, ...]
    unless: tuple[str, ...]
    address: bool
    """The text must name an e-mail address."""
    headers: tuple[tuple[str, str], ...]
    """Header fields and what their values must contain, in lower case."""
    classification: Classification | None
    """The reason, where the format has only one."""


@cache
def built_in_formats() -> tuple[Format, ...]:
    """Return the formats of `formats.toml`, in order."""
    file = files("postroad_bounce_processor.understanding") / "formats.toml"
    return tuple(
        Format(
            name=entry["name"],
            delayed=entry["kind"] == "delayed",
            phrases=tuple(entry["phrases"]),
            unless=tuple(entry.get("unless", ())),
            address=bool(entry.get("address", False)),
            headers=tuple(entry.get("headers", {}).items()),
            classification=Classification(entry["class"]) if "class" in entry else None,
        )
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["format"]
    )


def sent_by_a_daemon(mail: Part, mail_from: str) -> bool:
    """Tell whether a mail comes the way bounces come: from nobody, or from a mailer daemon.

    Lists and newsletters may come from nobody as well, and talk about bounces.
    """
    author = decode_words(mail.headers.get("from"))[:300]
    if _DAEMON.search(author):
        return True
    if not mail_from.strip("<> "):
        return not any(mail.headers.has(name) for name in _LIST_FIELDS)
    return bool(_DAEMON.search(mail_from[:300]))


def subject_of_failure(mail: Part) -> bool:
    """Tell whether the subject is one that announces a failed or delayed delivery."""
    return bool(_SUBJECT.search(decode_words(mail.headers.get("subject"))[:300]))


def subject_of_delay(mail: Part) -> bool:
    """Tell whether the subject says that delivery is still being tried."""
    return bool(_DELAY.search(decode_words(mail.headers.get("subject"))[:300]))


def find_format(mail: Part, words: str) -> Format | None:
    """Return the first format whose sentences are in ``words``, the mail's own text."""
    flat = _SPACES.sub(" ", words).lower().replace("\u2019", "'")
    return next((known for known in built_in_formats() if _fits(known, mail, flat)), None)


def _fits(known: Format, mail: Part, flat: str) -> bool:
    return (
        any(phrase in flat for phrase in known.phrases)
        and not any(phrase in flat for phrase in known.unless)
        and (not known.address or "@" in flat)
        and all(part in mail.headers.get(name).lower() for name, part in known.headers)
    )
