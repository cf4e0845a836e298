"""A hand-made client of the page, and texts that a hostile one sends."""

import json
import secrets
import socket
from typing import Any

import httpx

from assistant.requests import Settings
from assistant.session.records import StoredTurn

HOSTILE = '<script>alert(1)</script>\n\n# head\n<img src=x onerror=alert(2)> [a](javascript:b) "quoted"'


def turn(**values) -> StoredTurn:
    return StoredTurn(**{"id": 5, "conversation_id": "c", "created": 0.0, "text": "hi", "photo": None,
                         "settings": Settings(), "status": "done", **values})


def free_port() -> int:
    """One that the system chose: Gradio looks through a range that tests beside this one look through too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def sign_in(url: str, name: str | None = None, password: str = ""):
    client = httpx.Client(base_url=url, timeout=20)
    if name:
        assert client.post("login", data={"username": name, "password": password}).status_code == 200
    return client


def join(client, fn_index: int, data: list, hash_: str = "handmade", event: dict | None = None) -> str:
    """Call a handler as a hand-made client does; returns the raw stream of what comes back."""
    sent = client.post("gradio_api/queue/join", json={"data": data, "fn_index": fn_index, "session_hash": hash_, "event_data": event})
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


class Window:
    """The page in a browser's window, opened by hand: what the widgets hold at first is what they hold. `conversation` and `board` are those in view."""

    def __init__(self, client: httpx.Client, steps: int) -> None:
        self.client, self.hash, self.board, self.pulse = client, secrets.token_hex(6), "", ""
        assert client.get("").status_code == 200
        config = client.get("config").json()
        self.handlers = {one["api_name"]: one for one in config["dependencies"] if one["api_name"]}
        self.names = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
        self.held = {one["id"]: steps if one["props"].get("elem_id") == "steps" else one["props"].get("value") for one in config["components"]}
        for name in ("load", "mix_load", "_load", "_load_1"):
            self.call(name, **{"conversation": ""})
        self.conversation = ""

    def call(self, name: str, event: dict | None = None, **given: Any) -> str:
        """Call a handler with what is `given` by an element's id; returns all that came back. The conversation and the board in view follow it."""
        one = self.handlers[name]
        answer = join(self.client, one["id"], [given.get(self.names[number] or "", self.held[number]) for number in one["inputs"]], self.hash, event)
        last = json.loads(answer.rpartition("data: ")[2])
        assert last["msg"] == "process_completed" and last["success"], answer
        for number, value in zip(one["outputs"], last["output"]["data"]):
            if isinstance(value, str) and self.names[number] in ("conversation", "mix-board", "pulse", "mix-pulse"):
                setattr(self, {"mix-board": "board", "mix-pulse": "pulse"}.get(self.names[number], self.names[number]), value)
        return answer

    def say(self, text: str, *photos: bytes) -> str:
        """Send a message and follow it to its end. All its files have one name, as those of some phones do."""
        paths = [self.client.post("gradio_api/upload", files={"files": ("image.jpg", photo)}).json()[0] for photo in photos]
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        return self._followed("send", box={"text": text, "files": files})

    def press(self, act: str, argument: Any = "") -> str:
        """A button of the chat."""
        return self._followed("act", {"act": act, "arg": str(argument)}, box={"text": "", "files": []})

    def mix(self, act: str, argument: Any = "", **fields: str) -> str:
        """A button of the board, or something that is dropped there."""
        self.call("mix_act", {"act": f"mix.{act}", "arg": str(argument), "fields": fields}, **{"mix-board": self.board, "box": {"text": "", "files": []}})
        return self.call("mix_watch", **{"mix-board": self.board, "mix-pulse": self.pulse})

    def leave(self) -> None:
        """Close it, or reload it."""
        assert self.client.post("left", params={"session_hash": self.hash}).status_code == 204

    def _followed(self, name: str, event: dict | None = None, **given: Any) -> str:
        self.call(name, event, conversation=self.conversation, **given)
        return self.call("watch", conversation=self.conversation, pulse=self.pulse, seed="")
