"""The page's own addresses for pictures. Gradio hands its cached files to any visitor; these ask for the owner."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assistant.errors import AssistantError
from assistant.session.manager import SessionManager
from ui.owners import Owners, signed_in

SHOWN_SIDE = 512  # pixels; what is smaller is enlarged by a whole factor


@lru_cache(maxsize=256)
def enlarge(png: bytes, side: int = SHOWN_SIDE) -> bytes:
    """A small picture (PNG) enlarged by a whole factor to about `side`, with Lanczos' filter, as PNG. Others as is."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        factor = side // max(image.size)
        if factor < 2:
            return png
        buffer = io.BytesIO()
        size = (image.width * factor, image.height * factor)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def routes(manager: SessionManager, owners: Owners) -> list[Route]:
    """`pictures/<sha256>.png`, `live/<turn>.png` (newest preview), `subjects/<n>.png`. Query `show`: enlarged."""

    def answer(png: bytes | None, cache: str, headers: dict[str, str] | None = None) -> Response:
        if png is None:
            return Response(status_code=404)
        return Response(png, media_type="image/png", headers={"Cache-Control": cache, **(headers or {})})

    def kept(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            png = manager.picture(name, owners.of(signed_in(request), request.cookies))
        except AssistantError:
            return Response(status_code=404)
        headers = {}
        if "download" in request.query_params:
            headers["Content-Disposition"] = f'attachment; filename="cafe-{name[:8]}.png"'
        elif "show" in request.query_params:
            png = enlarge(png)
        return answer(png, "private, max-age=31536000, immutable", headers)

    def live(request: Request) -> Response:
        try:
            png = manager.preview(request.path_params["turn"], owners.of(signed_in(request), request.cookies))
        except AssistantError:
            return Response(status_code=404)
        return answer(enlarge(png) if png else None, "private, max-age=60")

    def subject(request: Request) -> Response:
        subjects, number = manager.info().subjects, request.path_params["number"]
        return answer(enlarge(subjects[number].photo.png) if number < len(subjects) else None, "private, max-age=3600")

    def off_the_loop(work):
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(work, request)
        return endpoint

    return [Route("/pictures/{name:str}.png", off_the_loop(kept)), Route("/live/{turn:int}.png", off_the_loop(live)),
            Route("/subjects/{number:int}.png", off_the_loop(subject))]
