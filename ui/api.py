"""The program's endpoints for other programs: a turn, a mix, a strip, learning, the list of concepts. docs/api.md shows each at work.

They do what the page does, by the same session, and keep what comes of it where the page finds it. Pictures come back as addresses
below the page's own, which ask for the owner. (Annotations are no strings here: gradio reads the types of what comes back.)
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import gradio as gr

from assistant.requests import Mix, Photo, Settings, Source, TrainingSpec, check_mix
from assistant.errors import AssistantError, InputError
from assistant.session.uploads import read_photo
from .concepts_panel import USUAL, WATCH_EVERY, options
from ui.generation_panel import read_seed
from .presenters import picture_address
from ui.panel import PanelContext, needed


class Endpoints:
    """Pictures are given as gradio_client's `handle_file` makes them. What cannot be done raises gr.Error with the page's sentence."""

    def __init__(self, place: PanelContext) -> None:
        self.place, self.manager, self.owners = place, place.manager, place.owners

    def offer(self) -> None:
        """Register, within the page's Blocks, what this engine can do."""
        for can, work in ((True, self.turn), (True, self.mix), (self.manager.strips, self.strip), (self.manager.learning, self.learn),
                          (self.manager.learning, self.concepts)):
            if can:
                gr.api(_told(work), api_name=work.__name__)

    def turn(self, request: gr.Request, words: str, picture: dict | None = None, conversation: str = "", seed: int | None = None,
             steps: int | None = None) -> dict:
        """Send a message; returns when it is answered. An empty `conversation` begins a new one, a picture is its subject from then on.

        Returns conversation, words, picture (an address, or "" where none was drawn) and seed.
        """
        owner = self._owner(request)
        photo = self._photo(picture, owner) if picture else None
        where = conversation or self.manager.new(owner).id
        try:
            for _ in self.manager.send(where, words, photo, self._settings(seed, steps), owner):
                pass
        except AssistantError:
            if not conversation and not self.manager.open(where, owner)[1]:
                self.manager.delete(where, owner)
            raise
        turn = self.manager.open(where, owner)[1][-1]
        return {"conversation": where, "words": turn.reply, "picture": _address(turn.picture), "seed": turn.seed}

    def mix(self, request: gr.Request, subject: dict, references: list, alpha: float | None = None, seed: int | None = None) -> dict:
        """Draw a subject with the look of references: pictures, or sentences. alpha: 0 as the subject's own picture is, 1 as the references say; None: the
        preset's.

        Returns board, picture, seed, and how alike the picture is to the subject and to each reference, 0 to 1.
        """
        owner = self._owner(request)
        sources = tuple(Source(words=one) if isinstance(one, str) else Source(self._photo(one, owner)) for one in references)
        info = self.manager.info()
        settings = replace(self._settings(seed), keep_subject=info.keep_subject, follow_words=info.follow_words)
        board = self.manager.board_jobs.begin(owner, check_mix(Mix((self._photo(subject, owner),), sources, info.alpha if alpha is None else alpha)), settings)
        self._wait(self.manager.board_jobs, self.manager.board_jobs.draw(board.id, owner, settings))
        done = self.manager.board_jobs.boards.get(board.id, owner)
        if done.result is None:
            raise InputError("This mix was stopped on the page.", "Ask for it again.")
        return {"board": board.id, "picture": _address(done.result.picture), "seed": done.seed, "subject": done.result.subject,
                "references": list(done.result.sources)}

    def strip(self, request: gr.Request, prompt: str, seed: int | None = None) -> dict:
        """Draw a prompt with a concept of the likeness slider over lambda, at one seed.

        Returns seed and pictures, each with its lambda.
        """
        owner = self._owner(request)
        settings = replace(self._settings(seed), preview_every=0, window=self.manager.info().window)
        strips = needed(self.manager.strips)
        self._wait(strips, strips.draw(owner, prompt, settings))
        kept = strips.newest(owner)
        return {"seed": kept.settings.seed, "pictures": [{"lambda": strength, "picture": _address(name)} for name, strength in zip(kept.pictures, kept.strengths)]}

    def learn(self, request: gr.Request, name: str, noun: str, pictures: list, kind: str = USUAL, steps: int | None = None) -> dict:
        """Learn a concept from 1 to 8 pictures; returns when it is learned. kind: infusion (several in one picture) or ico (the likeness slider).

        Returns name, kind, steps and status: done, or stopped where somebody pressed Stop on the page.
        """
        owner, usual, learning = self._owner(request), self.manager.info().lesson_steps, needed(self.manager.learning)
        if kind not in usual:
            raise InputError(f"There is no kind {kind!r} of concept.", f"Choose one of {', '.join(usual)}.")
        photos = tuple(self._photo(one, owner) for one in pictures)
        lesson = learning.begin(owner, TrainingSpec(name, noun, photos, (None,) * len(photos), kind, options(kind, usual[kind], steps, 1, False)))
        while (lesson := learning.lesson(lesson.id, owner)).open:
            time.sleep(WATCH_EVERY)
        if lesson.status == "failed":
            raise AssistantError(f"Learning <{name}> failed at step {lesson.step}: {lesson.error or 'it gave no reason.'}", "On the page you can go on with it.")
        return {"name": lesson.name, "kind": lesson.kind, "steps": lesson.step, "status": lesson.status}

    def concepts(self, request: gr.Request) -> list:
        """What is learned: name, noun, kind, steps, description, and what stands against its use here ("": nothing)."""
        return [{"name": one.name, "noun": one.noun, "kind": one.kind, "steps": one.steps, "description": one.description, "problem": one.problem}
                for one in needed(self.manager.learning).library(self._owner(request)).entries()]

    # inside

    def _owner(self, request: gr.Request) -> str:
        return self.owners.of(request.username, request.cookies)

    def _settings(self, seed: int | None, steps: int | None = None) -> Settings:
        info = self.manager.info()
        return Settings(seed=read_seed(seed), steps=min(max(int(steps), 1), 100) if steps else info.steps, scheduler=info.sampler, keep_subject=info.keep_subject,
                        follow_words=info.follow_words, candidates=info.candidates)

    def _photo(self, file: Any, owner: str) -> Photo:
        path = file.get("path") if isinstance(file, dict) else None
        photo = read_photo(self.place.upload(str(path), owner))
        self.place.forget(str(path))
        return photo

    @staticmethod
    def _wait(jobs: Any, drawing: Any) -> None:
        for _ in jobs.watch(drawing):
            pass
        if drawing.error is not None:
            raise drawing.error
        if drawing.cancel.is_set():
            raise InputError("This drawing was given up: it was stopped, or another was asked for.", "Ask for it again.")


def _address(picture: str | None) -> str:
    return picture_address(picture, show=False) if picture else ""


def _told(work: Callable[..., Any]) -> Callable[..., Any]:
    """What cannot be done is an error with a sentence for the caller, and no traceback for the console."""
    @wraps(work)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return work(*args, **kwargs)
        except AssistantError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return run
