"""The panel "Drawing": how the next pictures are drawn. Every control shows its default and can be put back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gradio as gr

from assistant.errors import MessageError
from assistant.requests import FLOW, LCM, Settings
from ui.panel import Panel, PanelContext, slider

MAX_SEED = 2**63 - 1  # what a generator and the database hold
MAX_TRIES = 6
SAMPLERS = {"dpm++": "DPM-Solver++", "ddim": "DDIM", "unipc": "UniPC", LCM: "LCM (few steps, no guidance)", FLOW: "Euler (flow matching)"}


class GenerationPanel(Panel):
    """The panel. Its inputs are in the order in which `settings` takes their values; the seed is the first."""

    name, title = "drawing", "Drawing"

    def __init__(self, place: PanelContext) -> None:
        super().__init__(place)
        info = place.manager.info()
        default = Settings(steps=info.steps, scheduler=info.sampler, keep_subject=info.keep_subject, follow_words=info.follow_words, candidates=info.candidates)
        gr.HTML('<p class="quiet">How the next picture is drawn. Nothing here needs a decision.</p>')
        self.seed = gr.Textbox(label="Seed", info="Empty: a new one for each picture.", max_length=20, elem_id="seed",
                               placeholder="new each time")  # no gr.Number: it turns empty into 0 and rounds large seeds
        keep = slider(0, info.keep_subject_most, default.keep_subject, step=0.1, label="Keep the subject", buttons=[], elem_id="keep",
                         visible="keep_subject" not in info.unheard,
                         info=f"Closer to your picture. Usually {default.keep_subject:g}.")
        follow = slider(0, 10, default.follow_words, step=0.1, label="Follow the words", buttons=[], visible="follow_words" not in info.unheard,
                           info=f"More of what was said. Usually {default.follow_words:g}.", elem_id="follow")
        paces = {pace.name: (pace.steps, pace.scheduler, pace.candidates) for pace in info.paces}
        usual = next((name for name, numbers in paces.items() if numbers == (default.steps, default.scheduler, default.candidates)), None)
        pace = gr.Radio([(name.capitalize(), name) for name in paces], value=usual, label="Pace", visible=bool(paces), elem_id="pace",
                        info="Sets steps, sampler and tries together.")
        steps = slider(1, 100, default.steps, step=1, label="Steps", buttons=[], elem_id="steps",
                          info=f"Slower, a little finer. Usually {default.steps}.")
        sampler = gr.Dropdown([(SAMPLERS[name], name) for name in info.samplers], value=default.scheduler, label="Sampler",
                              info=f"Usually {SAMPLERS[default.scheduler]}.", elem_id="sampler", filterable=False)
        tries = slider(1, MAX_TRIES, default.candidates, step=1, label="Tries", buttons=[], elem_id="tries", visible=info.looks,
                          info="It draws again where something is missing, and keeps the best.")
        self.inputs = [self.seed, keep, follow, steps, sampler, tries]
        timed = [steps, sampler, tries]
        for chosen in timed:  # a pace is three values; what is no pace shows none
            chosen.input(lambda *now: next((name for name, values in paces.items() if values == now), None), timed, pace, queue=False,
                         api_visibility="private")
        pace.input(lambda name: paces.get(name, (default.steps, default.scheduler, default.candidates)), pace, timed, queue=False,
                   api_visibility="private")
        reset = gr.Button("Put everything back", size="sm", elem_id="reset")
        reset.click(lambda: ["", default.keep_subject, default.follow_words, default.steps, default.scheduler, default.candidates, usual],
                    outputs=[*self.inputs, pace], queue=False, api_visibility="private")

    def settings(self, so_far: Settings, *values: Any) -> Settings:
        return settings(*values, so_far=so_far)


def settings(seed: Any, keep_subject: Any, follow_words: Any, steps: Any, sampler: Any, tries: Any = 1,
             so_far: Settings = Settings()) -> Settings:
    """Values as a browser sends them, brought into range: a hand-made request cannot ask for a million steps.

    Raises:
        MessageError: the seed is no number.
    """
    default = Settings()
    return replace(
        so_far,
        seed=read_seed(seed),
        steps=int(_within(steps, 1, 100, default.steps)),
        scheduler=sampler if sampler in SAMPLERS else default.scheduler,
        keep_subject=_within(keep_subject, 0, 10, default.keep_subject),
        follow_words=_within(follow_words, 0, 10, default.follow_words),
        candidates=int(_within(tries, 1, MAX_TRIES, default.candidates)))


def read_seed(value: Any) -> int | None:
    """Empty is None. Raises MessageError: not a whole number from 0 to MAX_SEED."""
    text = str(value if value is not None else "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > MAX_SEED:
        raise MessageError(f"The seed \"{text[:24]}\" is not a whole number from 0 to {MAX_SEED}.",
                           "Change it under Drawing, or empty it for a new one each time.")
    return int(text)


def _within(value: Any, low: float, high: float, default: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return min(max(number, low), high) if math.isfinite(number) else default
