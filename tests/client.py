"""A hand-made client of the page, and texts that a hostile one sends."""

import httpx

from assistant.requests import Settings
from assistant.session.records import StoredTurn

HOSTILE = '<script>alert(1)</script>\n\n# head\n<img src=x onerror=alert(2)> [a](javascript:b) "quoted"'


def turn(**values) -> StoredTurn:
    return StoredTurn(**{"id": 5, "conversation_id": "c", "created": 0.0, "text": "hi", "photo": None,
                         "settings": Settings(), "status": "done", **values})


def sign_in(url: str, name: str | None = None, password: str = ""):
    client = httpx.Client(base_url=url, timeout=20)
    if name:
        assert client.post("login", data={"username": name, "password": password}).status_code == 200
    return client


def join(client, fn_index: int, data: list) -> str:
    """Call a handler as a hand-made client does; returns the raw stream of what comes back."""
    hash_ = "handmade"
    sent = client.post("gradio_api/queue/join", json={"data": data, "fn_index": fn_index, "session_hash": hash_})
    if sent.status_code != 200:
        return f"{sent.status_code}"
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": hash_}) as stream:
        lines = []
        for line in stream.iter_lines():
            lines.append(line)
            if "process_completed" in line:
                break
    return "\n".join(lines)


def handler(client, name: str) -> int:
    return next(d["id"] for d in client.get("config").json()["dependencies"] if d["api_name"] == name)
