"""With all features on a mail looks as it did before: both are photographed in one Chromium.

On a wide screen in light and on a narrow one in dark, all mails beside each other in frames. No
link is followed and nothing is fetched: all images are one and the same, but for the pixel.
"""

import email
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from postroad_common.schemas.features import Features
from postroad_common.schemas.submission import Submission
from postroad_common.tokens import LinkSigner
from postroad_testing.chromium import chromium_flags, chromium_path
from postroad_transformer.composing.composer import Composer
from postroad_transformer.composing.rules import Rules
from postroad_transformer.composing.template import make_template

pytestmark = pytest.mark.timeout(300)
PICTURES = sorted((Path(__file__).parent / "data" / "pictures").glob("*.html"))
PATIENCE_MS = 120_000
HEIGHT = 500  # of a frame; what is below is not compared
SCREENS = ((720, "light"), (375, "dark"))
IMAGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{0}">{1}</svg>"""
SHOWN = IMAGE.format(40, '<rect width="40" height="40" fill="#b33"/>')
PIXEL = IMAGE.format(1, "")
HEAD = b"From: a@example.com\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"


@pytest.fixture
def page() -> Iterator[Page]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*chromium_flags(), "--disable-gpu"], timeout=PATIENCE_MS
        )
        made = browser.new_context(java_script_enabled=False).new_page()
        made.set_default_timeout(PATIENCE_MS)
        yield made
        browser.close()


class Camera:
    """Photographs mails, which are HTML in UTF-8."""

    def __init__(self, page: Page, links: LinkSigner) -> None:
        self._page = page
        self._links = links
        self._mails: Sequence[bytes] = ()
        page.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        url = route.request.url
        _, _, number = url.partition("https://mail.test/")
        if number:
            route.fulfill(body=self._mails[int(number)], content_type="text/html; charset=utf-8")
        elif url == "https://mail.test/":
            frames = "".join(f'<iframe src="/{n}"></iframe>' for n in range(len(self._mails)))
            style = f"iframe{{display:block;width:100%;height:{HEIGHT}px;border:0;overflow:hidden}}"
            route.fulfill(
                body=f"<!doctype html><style>{style}</style>{frames}", content_type="text/html"
            )
        elif route.request.resource_type != "image":
            route.abort()
        else:
            path = url.removeprefix(self._links.base_url)
            token = None if path == url else self._links.read_path(path)
            is_pixel = token is not None and not token.target
            route.fulfill(body=PIXEL if is_pixel else SHOWN, content_type="image/svg+xml")

    def photograph(self, mails: Sequence[bytes]) -> list[bytes]:
        """Return a picture of all `mails` on each screen."""
        self._mails = mails
        self._page.goto("https://mail.test/")
        taken = []
        for width, scheme in SCREENS:
            self._page.set_viewport_size({"width": width, "height": HEIGHT * len(mails)})
            self._page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            taken.append(self._page.screenshot(animations="disabled"))
        return taken


def html_of(raw: bytes) -> bytes:
    payload = email.message_from_bytes(raw).get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def test_mails_look_as_before(
    page: Page,
    make_submission: Callable[..., Submission],
    rules: Rules,
    links: LinkSigner,
    everything: Features,
):
    submission = make_submission(features=everything)
    before = [path.read_bytes().replace(b"\n", b"\r\n") for path in PICTURES]
    after = []
    for mail in before:
        template = make_template(HEAD + mail, submission, rules)
        composer = Composer(template, links, (), 1.78e9)
        content = composer.content(submission.recipients[0].id)
        after.append(html_of(content.head + composer.body(content)))
    assert all(one != other for one, other in zip(before, after, strict=True))
    camera = Camera(page, links)
    if camera.photograph(before) != camera.photograph(after):
        assert [
            path.stem
            for path, one, other in zip(PICTURES, before, after, strict=True)
            if camera.photograph([one]) != camera.photograph([other])
        ] == []
