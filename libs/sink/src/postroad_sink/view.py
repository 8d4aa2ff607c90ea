"""What people see: the page of the sink, and mail in HTML made safe to look at.

A mail is shown in a sandboxed frame: no script, no form, no plug-in, nothing from elsewhere unless
the reader asks for the images, and links open in a tab of their own.
"""

import base64
import re
from collections.abc import Sequence
from importlib.resources import files
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from postroad_sink.mime import ParsedPart

_PAGE = files("postroad_sink") / "page"
_FILES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; font-src data:; img-src {images}; form-action 'none'; "
    "frame-ancestors 'self'"
)
_CID = re.compile(r"cid:([^\"'\s)>]{1,300})", re.IGNORECASE)
_PLACE_OF_BASE = re.compile(
    r"\s*(?:<!doctype[^>]*>)?\s*(?:<html[^>]*>)?\s*(?:<head[^>]*>)?", re.IGNORECASE
)
_MOST_EMBEDDED = 8 * 1024 * 1024  # bytes of pictures put into one page


async def page(_: Request) -> Response:
    """Serve the page itself."""
    return _with_policy(HTMLResponse((_PAGE / "index.html").read_bytes()), _PAGE_POLICY)


async def page_file(request: Request) -> Response:
    """Serve a file that the page needs."""
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404, "no such file")
    return _with_policy(
        Response((_PAGE / name).read_bytes(), media_type=_FILES[name]), _PAGE_POLICY
    )


def mail_html(html: str, *, remote_images: bool) -> Response:
    """Serve the HTML of a mail, as it is, under a policy that makes it harmless."""
    images = "data: http: https:" if remote_images else "data:"
    response = HTMLResponse(html.encode("utf-8", "replace"))
    return _with_policy(response, _MAIL_POLICY.format(images=images))


def framed(html: str, parts: Sequence[ParsedPart]) -> str:
    """Return the HTML of a mail for the frame: links open elsewhere, its pictures are in it."""
    pictures = {part.content_id: part for part in parts if part.content_id}
    left = _MOST_EMBEDDED

    def embed(match: re.Match[str]) -> str:
        nonlocal left
        part = pictures.get(unquote(match[1]))
        if part is None or len(part.data) > left or not part.content_type.startswith("image/"):
            return match[0]
        left -= len(part.data)
        return f"data:{part.content_type};base64,{base64.b64encode(part.data).decode()}"

    html = _CID.sub(embed, html)
    # Before the doctype it would change how the browser lays out the rest.
    place = match.end() if (match := _PLACE_OF_BASE.match(html)) else 0
    return f'{html[:place]}<base target="_blank">{html[place:]}'


def _with_policy(response: Response, policy: str) -> Response:
    response.headers["content-security-policy"] = policy
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["referrer-policy"] = "no-referrer"
    response.headers["cache-control"] = "no-store"
    return response
