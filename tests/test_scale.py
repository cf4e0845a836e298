"""Training at size: one curve whatever the number of processes, and after a kill by another number of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assistant.errors import ConfigError
from assistant.presets import MINIATURE
from assistant.training.data import draw
from assistant.training.loop import Options, Trainer
from assistant.weights import CHECKPOINTS
from tests.test_training import Line

ROOT = Path(__file__).resolve().parents[1]
STEPS = 50
TOLERANCE = 1e-4  # relative: sums in another order may differ in their last bits; here they seldom do


def curve(folder: Path, name: str = "loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines}), "each step once"
    return {line["step"]: line[name] for line in lines}


def start(processes: int, run: Path, *options: str) -> subprocess.Popen:
    """The miniature's decoder, by one process or by several as `accelerate launch` starts them."""
    several = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes), "--num_machines", "1",
               "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [sys.executable, *(several if processes > 1 else []), "-m", "assistant.training", "cafe", "--run", str(run), "--batch", "2",
               "--parts", "2", "--steps", str(STEPS), "--log-every", "0", "--threads", "1", "--no-sheet", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def finished(child: subprocess.Popen) -> None:
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 0, said


def test_two_processes_draw_one_process_s_curve_and_one_goes_on_after_a_kill(tmp_path: Path) -> None:
    draw(tmp_path / "data", MINIATURE, groups=6, talks=2, seed=5, workers=1)
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        (run / "model").mkdir(parents=True)
        (run / "data").symlink_to(tmp_path / "data")
        for part in ("dino", "clip", "base"):
            (run / "model" / part).symlink_to(CHECKPOINTS / "miniature" / part)
    finished(start(1, runs[0]))
    one = curve(runs[0] / "cafe")

    pair = start(2, runs[1], "--save-every", "1")
    state, until = runs[1] / "cafe/state", time.monotonic() + 200
    while not (state.exists() and (runs[1] / "cafe/log.jsonl").read_text().count("\n") >= STEPS // 3):
        assert pair.poll() is None and time.monotonic() < until, pair.communicate()[0]
        time.sleep(0.02)
    for process in [*psutil.Process(pair.pid).children(recursive=True), pair]:
        process.kill()
    pair.communicate()
    reached = max(curve(runs[1] / "cafe"))
    assert STEPS // 3 <= reached < STEPS
    finished(start(1, runs[1]))
    both = curve(runs[1] / "cafe")
    assert set(both) == set(one) == set(range(1, STEPS + 1))
    worst = max(abs(both[k] / one[k] - 1) for k in one)
    assert worst < TOLERANCE, worst
    assert len({round(v, 3) for v in one.values()}) > STEPS / 2 and one[STEPS] != one[STEPS - 1]
