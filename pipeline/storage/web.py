"""Reads objects of web servers as they stream: a server need not say how long they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsspec.asyn import sync

if TYPE_CHECKING:
    from fsspec.implementations.http import HTTPFileSystem

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
