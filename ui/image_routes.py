"""The page's own addresses for pictures. Gradio hands its cached files to any visitor; these ask for the owner."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assistant.errors import AssistantError
from assistant.files import overlaid, write_png
from assistant.session.manager import SessionManager
from ui.auth import Owners

SHOWN_SIDE = 512  # pixels; what is smaller is enlarged by a whole factor


def enlarge(png: bytes, side: int = SHOWN_SIDE) -> bytes:
    """A small picture (PNG) enlarged by a whole factor to about `side`, with Lanczos' filter, as PNG. Others as is."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        factor = side // max(image.size)
        if factor < 2:
            return png
        buffer, texts = io.BytesIO(), PngInfo()
        for name, text in getattr(image, "text", {}).items():  # who saves what is shown has its settings too
            texts.add_itxt(name, str(text))
        size = (image.width * factor, image.height * factor)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG", compress_level=1, pnginfo=texts)
        return buffer.getvalue()


def over(png: bytes, mask: bytes) -> bytes:
    """A picture, enlarged, coloured where a mask (side x side bytes) is bright; PNG. Raises ValueError: the mask is not square."""
    side = math.isqrt(len(mask))
    picture = np.asarray(Image.open(io.BytesIO(enlarge(png)), formats=["PNG"]).convert("RGB"))
    return write_png(overlaid(picture, np.frombuffer(mask, np.uint8).reshape(side, side) / 255, 0.45))


def served(path: str, find: Callable[[Request], bytes | None], cache: str = "private, max-age=60", kind: str = "image/png",
           saved_as: Callable[[Request], str] | None = None) -> Route:
    """An address of bytes; where there are none, or none of this visitor's, 404.

    Args:
        find: called off the event loop; what it raises of a wrong address or another's things counts as nothing.
        saved_as: the name of a file that is no picture, and, with the query `download`, of a picture.
    """
    def work(request: Request) -> Response:
        try:
            data = find(request)
        except (AssistantError, ValueError, IndexError, OverflowError, OSError):
            data = None
        headers = {"Cache-Control": cache}
        if saved_as is not None and (kind != "image/png" or "download" in request.query_params):
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(saved_as(request), safe='')}"
        return Response(data, media_type=kind, headers=headers) if data else Response(status_code=404)

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(work, request)

    return Route(path, endpoint)


def routes(manager: SessionManager, owners: Owners) -> list[Route]:
    """`pictures/<sha256>.png`, `live/<turn>.png` (newest preview), `masks/<turn>.png` (over its picture), `subjects/<n>.png`. Query `show`: enlarged."""
    def kept(request: Request) -> bytes:
        png = manager.picture(request.path_params["name"], owners.visitor(request))
        return enlarge(png) if "show" in request.query_params and "download" not in request.query_params else png

    def live(request: Request) -> bytes | None:
        png = manager.preview(request.path_params["turn"], owners.visitor(request))
        return enlarge(png) if png else None

    def mask(request: Request) -> bytes | None:
        turn = manager.turn(request.path_params["turn"], owners.visitor(request))
        coded = turn.metadata.get("mask")
        return over(manager.picture(turn.picture, owners.visitor(request)), base64.b64decode(coded)) if turn.picture and isinstance(coded, str) else None

    return [served("/pictures/{name:str}.png", kept, "private, max-age=31536000, immutable",
                   saved_as=lambda request: f"cafe-{request.path_params['name'][:8]}.png"),
            served("/live/{turn:int}.png", live),
            served("/masks/{turn:int}.png", mask),
            served("/subjects/{number:int}.png", lambda request: enlarge(manager.info().subjects[request.path_params["number"]].photo.png),
                   "private, max-age=3600")]
