"""Log files written out, as their records come: CSV with or without a header, JSON, XML."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Sequence
from xml.sax.saxutils import escape

from postroad_ingress_http.exports.columns import LogKind, Record, as_mapping

Pages = AsyncIterator[Sequence[Record]]
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


async def write_csv(kind: LogKind, pages: Pages, *, header: bool) -> AsyncIterator[bytes]:
    """RFC 4180; fields with line ends are quoted."""
    if header:
        yield _csv([kind.columns])
    async for page in pages:
        yield _csv(page)


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


async def write_json(kind: LogKind, pages: Pages) -> AsyncIterator[bytes]:
    """Write an array with one object per record."""
    before = "["
    async for page in pages:
        for record in page:
            text = json.dumps(as_mapping(kind, record), ensure_ascii=False)
            yield f"{before}\n{text}".encode()
            before = ","
    yield b"[]\n" if before == "[" else b"\n]\n"


async def write_xml(kind: LogKind, pages: Pages) -> AsyncIterator[bytes]:
    """`<records><record>…`; characters that XML 1.0 cannot hold become question marks."""
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n'
    async for page in pages:
        for record in page:
            fields = "".join(
                f"<{name}>{escape(_NOT_IN_XML.sub('?', value))}</{name}>"
                for name, value in zip(kind.columns, record, strict=True)
            )
            yield f"<record>{fields}</record>\n".encode()
    yield b"</records>\n"
