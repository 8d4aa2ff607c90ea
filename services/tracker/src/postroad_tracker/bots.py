"""Recognises machines by what a single request says of itself.

Security scanners follow every link, mail providers fetch every image through a proxy, messengers
draw previews. Their hits are recorded like any other, with the reason, so that counts of people
can leave them out. What only shows over several requests is in `burst_detector`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

PREFETCH = "prefetch"
NO_USER_AGENT = "no-user-agent"
PRIVACY_PROXY = "privacy-proxy"

# First match wins, so the specific stand before the general. Words are matched anywhere in the
# User-Agent, in any case.
_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "image-proxy",
        ("imageproxy", "image-proxy", "image proxy", "imgproxy", "mailproxy", "yahoocachesystem"),
    ),
    (
        "scanner",
        (
            "barracuda",
            "bitdefender",
            "checkpoint",
            "cloudmark",
            "cyren",
            "fireeye",
            "forcepoint",
            "fortiguard",
            "hornetsecurity",
            "ironport",
            "kaspersky",
            "mailguard",
            "messagelabs",
            "mimecast",
            "netcraft",
            "paloalto",
            "phishtank",
            "proofpoint",
            "safelinks",
            "sophos",
            "spamassassin",
            "symantec",
            "trendmicro",
            "trend micro",
            "trustwave",
            "urldefense",
            "urlscan",
            "vadesecure",
            "virustotal",
            "zscaler",
        ),
    ),
    (
        "preview",
        (
            "bingpreview",
            "discordbot",
            "embedly",
            "facebookexternalhit",
            "google web preview",
            "iframely",
            "linkedinbot",
            "mastodon",
            "pinterestbot",
            "skypeuripreview",
            "slackbot",
            "snapchat",
            "telegrambot",
            "twitterbot",
            "viber",
            "whatsapp",
        ),
    ),
    (
        "browser-robot",
        ("headlesschrome", "phantomjs", "playwright", "puppeteer", "selenium", "electron-scan"),
    ),
    (
        "program",
        (
            "aiohttp",
            "apache-httpclient",
            "axios/",
            "curl/",
            "go-http-client",
            "guzzlehttp",
            "httpie",
            "java/",
            "office existence discovery",
            "office protocol discovery",
            "libwww-perl",
            "node-fetch",
            "php/",
            "postmanruntime",
            "python-httpx",
            "python-requests",
            "python-urllib",
            "ruby",
            "undici",
            "wget/",
            "winhttp",
        ),
    ),
    (
        "crawler",
        (
            "-bot",
            "-google",
            "bingbot",
            "bot/",
            "bot;",
            "crawler",
            "google-inspectiontool",
            "google-safety",
            "googlebot",
            "googleother",
            "slurp",
            "spider",
        ),
    ),
)
_REASONS = tuple(reason for reason, _ in _RULES)
_PATTERN = re.compile(
    "|".join("(" + "|".join(map(re.escape, words)) + ")" for _, words in _RULES), re.IGNORECASE
)


@lru_cache(maxsize=4096)
def by_user_agent(user_agent: str) -> str:
    """Return the reason to take the owner of `user_agent` for a machine, or an empty string."""
    if not user_agent:
        return NO_USER_AGENT
    if user_agent == "Mozilla/5.0":
        # Apple's Mail Privacy Protection loads all images ahead of the reader under this name.
        return PRIVACY_PROXY
    # An earlier rule must win over an earlier place in the text, so all matches are looked at.
    found = {match.lastindex for match in _PATTERN.finditer(user_agent)} - {None}
    return _REASONS[min(index for index in found if index) - 1] if found else ""


def by_headers(headers: Mapping[bytes, bytes]) -> str:
    """Return the reason in the request's headers (lower-case names), or an empty string."""
    for name in (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"):
        value = headers.get(name)
        if value is not None and (b"prefetch" in value.lower() or b"preview" in value.lower()):
            return PREFETCH
    return ""
