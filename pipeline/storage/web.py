"""Reads objects and pages of web servers as they stream: a server need not say how long they are."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from fsspec.asyn import sync

from pipeline.errors import RunError
from pipeline.storage.redaction import public_uri

if TYPE_CHECKING:
    from fsspec.implementations.http import HTTPFileSystem

MOST_OF_A_PAGE = 64 << 20
"""Most bytes of a page with links."""
_CHUNK = 1 << 18


def read_web(fs: HTTPFileSystem, url: str, start: int, end: int) -> bytes:
    """The bytes of an object from `start` to before `end`, or to its own end; reads no further.

    Raises:
        FileNotFoundError: there is no such object.
        OSError, or an error of the client: any other.
    """

    async def read() -> bytes:
        session = await fs.set_session()
        options = dict(fs.kwargs)
        if start:
            options["headers"] = {**options.get("headers", {}), "Range": f"bytes={start}-{end - 1}"}
        async with session.get(fs.encode_url(url), **options) as answer:
            if answer.status == 404:
                raise FileNotFoundError(url)
            answer.raise_for_status()
            data, skipped = bytearray(), start if answer.status == 200 else 0  # 200: all of it comes
            async for chunk in answer.content.iter_chunked(_CHUNK):
                data += chunk[skipped:]
                skipped = max(0, skipped - len(chunk))
                if len(data) >= end - start:
                    break
            return bytes(data[: end - start])

    return bytes(sync(fs.loop, read))


def links_of(fs: HTTPFileSystem, url: str) -> set[str]:
    """The addresses that a page links to. Raises as `read_web`, and RunError if it is too long for a page."""
    page = read_web(fs, url, 0, MOST_OF_A_PAGE + 1)
    if len(page) > MOST_OF_A_PAGE:
        raise RunError(
            f"{public_uri(url)} has more than {MOST_OF_A_PAGE} bytes, so it is no page that lists images: "
            "check SOURCE"
        )
    links = _Links()
    links.feed(page.decode(errors="replace"))
    return {urljoin(f"{url.rstrip('/')}/", link) for link in links.found}


class _Links(HTMLParser):
    """Finds the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the link of a tag."""
        if tag == "a" and (link := dict(attrs).get("href")):
            self.found.append(link)
