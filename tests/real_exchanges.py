"""Twenty free exchanges with a real chat model in `open`, whose other parts are tiny and random: docs/real-weights.md has what came of them.

    python -m tests.real_exchanges FOLDER_OR_FILE out.jsonl [--dtype bfloat16] [--talks 0,2]
"""

import argparse
import dataclasses
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from assistant import loading, presets
from assistant.models.chat_llm import ChatModel
from assistant.requests import Reply, Request, Settings, Turn
from tests import tiny_open
from tests.fake_engine import photo_of

TALKS = (("put my dog on the moon", "make it sadder", "no hat please", "what did you change?", "undo that"),
         ("hello!", "draw my cat in a garden at night", "give it a red scarf", "thank you!", "what is in my photo?"),
         ("I want a birthday card with my teddy bear", "as a watercolour", "maybe on a beach instead", "can you make a video of it?", "remove the balloons"),
         ("my mug looks boring, surprise me", "put a blue dog beside it", "hmm not sure", "how do you work?", "make everything snowy"))


class Heard(ChatModel):
    """Keeps what the model said: tokens of the prompt, the words, CPU seconds to the first token and in all."""

    tries: list[dict[str, Any]] = []

    def _said(self, prompt, *rest):
        one: dict[str, Any] = {"prompt": prompt["input_ids"].shape[1], "said": ""}
        self.tries.append(one)
        started = time.process_time()
        for one["said"] in super()._said(prompt, *rest):
            one.setdefault("first", round(time.process_time() - started, 2))
            yield one["said"]
        one["cpu"] = round(time.process_time() - started, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("llm")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--talks", default="0,1,2,3")
    args = parser.parse_args()
    presets.PRESETS["open"] = dataclasses.replace(tiny_open.CONFIG, language=presets.OPEN.language)
    with tempfile.TemporaryDirectory() as folder:
        engine = loading.load("open", "cpu", args.dtype, folder=tiny_open.write(Path(folder)), llm=args.llm)
    loading.assistant_of(engine).language.__class__ = Heard
    for k in map(int, args.talks.split(",")):
        photo, history = photo_of(k + 1), ()
        for i, text in enumerate(TALKS[k]):
            Heard.tries.clear()
            started, request = time.monotonic(), Request(text, photo if i == 0 else None, history, Settings(seed=5 * k + i + 1, steps=2))
            reply = list(engine.respond(request, threading.Event()))[-1]
            assert isinstance(reply, Reply)
            row = {"text": text, "reply": reply.text, "plan": reply.plan and reply.plan.as_json(), "drew": bool(reply.png), "prompts": reply.metadata.get("prompts"),
                   "seconds": round(time.monotonic() - started, 1), "tries": list(Heard.tries)}
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            history = (*history, Turn(text, reply.text, request.photo, bool(reply.png), reply.plan))


if __name__ == "__main__":
    main()
