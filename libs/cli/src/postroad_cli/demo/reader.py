"""A simulated reader: fetches the images and follows the links of the copy that arrived."""

import httpx

from postroad_cli.demo.failure import DemoFailedError

_TIMEOUT = 30.0
_FOUND = 302
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Postroad-demo-reader"


def follow(pairs: tuple[tuple[str, str], ...], kind: str) -> None:
    """GET each tracking URL and see that it leads to exactly the original URL.

    Args:
        pairs: tracking URL and original.
        kind: `link` or `image`, for the error message.

    Raises:
        DemoFailedError: it does not.
    """
    with httpx.Client(timeout=_TIMEOUT, trust_env=False, headers={"User-Agent": _AGENT}) as client:
        for url, original in pairs:
            try:
                response = client.get(url)
            except httpx.HTTPError as error:
                raise DemoFailedError(f"the tracker does not answer: {error}", "tracker") from None
            target = response.headers.get("location")
            if response.status_code != _FOUND or target != original:
                raise DemoFailedError(
                    f"a {kind} leads to {response.status_code} {target}, not to 302 {original}",
                    "tracker",
                )
