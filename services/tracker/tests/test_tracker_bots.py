import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad_tracker import bots

PEOPLE = [
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Thunderbird/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (Linux; Android 14; CUBOT P80) AppleWebKit/537.36 Chrome/141.0 Mobile",
]
MACHINES = [
    (
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "image-proxy",
    ),
    ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "image-proxy"),
    ("Mozilla/5.0 (compatible; Some Image Proxy/1.2; +https://mail.example.net)", "image-proxy"),
    ("Mozilla/5.0", bots.PRIVACY_PROXY),
    ("", bots.NO_USER_AGENT),
    ("Mozilla/5.0 (compatible; Barracuda Sentinel (EE))", "scanner"),
    ("Mozilla/5.0 AppleWebKit/534+ BingPreview/1.0b", "preview"),
    ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "preview"),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "crawler"),
    ("Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120.0 Safari/537.36", "browser-robot"),
    ("AdsBot-Google (+http://www.google.com/adsbot.html)", "crawler"),
    ("Mozilla/5.0 (compatible; Google-Safety; +http://www.google.com/bot.html)", "crawler"),
    ("Microsoft Office Existence Discovery", "program"),
    ("curl/8.5.0", "program"),
    ("python-requests/2.32", "program"),
    ("Go-http-client/2.0", "program"),
]


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_browsers_and_mail_programs_are_people(user_agent: str):
    assert bots.by_user_agent(user_agent) == ""


@pytest.mark.parametrize(("user_agent", "reason"), MACHINES)
def test_known_machines_are_named(user_agent: str, reason: str):
    assert bots.by_user_agent(user_agent) == reason


def test_the_more_specific_rule_wins_over_the_earlier_word():
    assert bots.by_user_agent("curl/8 spider Mimecast") == "scanner"


def test_prefetching_browsers_are_machines():
    assert bots.by_headers({b"sec-purpose": b"prefetch;prerender"}) == bots.PREFETCH
    assert bots.by_headers({b"x-moz": b"Prefetch"}) == bots.PREFETCH
    assert bots.by_headers({b"purpose": b"reading"}) == ""


@given(st.text(max_size=600))
def test_any_text_has_a_verdict(user_agent: str):
    assert isinstance(bots.by_user_agent(user_agent), str)
