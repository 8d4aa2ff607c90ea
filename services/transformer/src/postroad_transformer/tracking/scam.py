"""preventscam: whether a link shows its own address, so that rewriting it would look like fraud.

Mail programs warn when a link reads `www.example.com` but leads to another host, which every
tracked link does. So a link whose visible text is a URL or a host name keeps its address,
whether or not the two agree: where they do not, the sender is to answer for it, not Postroad.
"""

import re
import unicodedata
from urllib.parse import urlsplit

MAX_VISIBLE = 2_000  # characters; longer text is no address

# Seen by nobody: zero-width characters, soft hyphen, direction and variation marks.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
_AROUND = " \t\r\n\"'<>()[]{}«»‹›“”„‘’‚,;:!?…|*_-–—→➔➜►▶·•."  # noqa: RUF001 - as typed around addresses
_SCHEME = re.compile(r"(?:https?|ftp)\s*+:\s*+/{0,2}+\s*+(?=[^\s/])", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z0-9 \r\n-]*")  # no dot and no colon, and seen as written
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_HOST = re.compile(
    rf"(?:{_LABEL}\.)+(?:[^\W\d_]{{2,63}}|xn--[a-z0-9-]{{1,59}})\.?|\d{{1,3}}(?:\.\d{{1,3}}){{3}}",
    re.IGNORECASE,
)
_REST = re.compile(r"(?::\d{1,5})?(?:[/?#]\S*)?")
# Endings of file names that are no top-level domains of note; `invoice.pdf` is no host.
_FILES = frozenset(
    "asp aspx avi bat bmp cfg conf css csv dll dmg doc docm docx eml eps exe gif gz htm html ics "  # noqa: SIM905 - a list of words
    "ini jpeg jpg js json jsx log mp3 mp4 mpeg odp ods odt pdf php png ppt pptx ps1 psd rar rtf "
    "svg tar tex tif tiff toml ts tsx txt vcf wav webp xls xlsm xlsx xml yaml yml".split()
)


def shows_address(visible: str, target: str) -> bool:
    """Whether a reader of `visible` sees a URL or a host name.

    `target` is where the link leads. It matters only for words that could also be something else:
    a file name or a host without a dot is taken for an address if the link leads to that host.
    """
    if len(visible) > MAX_VISIBLE:
        return False
    if _WORDS.fullmatch(visible) and visible.strip(" \r\n-").lower() not in target.lower():
        return False  # most links end here, before the expensive part
    if not visible.isascii():
        visible = unicodedata.normalize("NFKC", _INVISIBLE.sub("", visible)).replace("\u3002", ".")
    text = visible.strip(_AROUND)
    if not text:
        return False
    if _SCHEME.match(text):
        return not re.search(r"\s", text[text.index(":") + 1 :].lstrip("/ \t\r\n"))
    host = _HOST.match(text)
    if host and _REST.fullmatch(text, host.end()):
        name = host[0].lower().rstrip(".")
        bare = host.end() == len(text)
        is_file = bare and name.rpartition(".")[2] in _FILES and not name.startswith("www.")
        return not is_file or name == _host_of(target)
    return text.lower().rstrip("/") == _host_of(target)


def _host_of(target: str) -> str:
    try:
        return (urlsplit(target).hostname or "").rstrip(".")
    except ValueError:
        return ""
