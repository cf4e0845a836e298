"""A day's use in minutes: memory, threads and files after hundreds of turns; what fifty kills leave. ENDURANCE=full does all of it, else a short form."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.client import Window, free_port
from tests.fake_engine import draw, png_of

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("ENDURANCE") == "full"
ROUNDS, WARM, EVERY = (400, 100, 20) if FULL else (40, 20, 5)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")]


def state(process: int) -> tuple[float, int, int]:
    """Resident memory in MiB, threads, open files."""
    said = Path(f"/proc/{process}/status").read_text()
    memory, threads = (int(re.search(rf"{name}:\s*(\d+)", said)[1]) for name in ("VmRSS", "Threads"))
    return round(memory / 1024, 1), threads, len(os.listdir(f"/proc/{process}/fd"))


def use(client: httpx.Client, process: int) -> list[tuple[float, int, int]]:
    """A turn and a redraw a round, a drag in every second, a reload in every eighth, with a new conversation and a new board then."""
    found, mixed, window = [], "", None
    for n in range(ROUNDS):
        if n % 8 == 0:
            if window is not None:
                window.leave()
            window = Window(client, steps=3)
        said = window.say(f"wish {n}", *[png_of(draw(n, 160))] if n % 4 == 0 else [])
        said = window.press("redraw", re.findall(r"do-redraw to-(\d+)", said)[-1])
        picture = re.findall(r"pictures/([0-9a-f]{64})", said)[-1]
        assert client.get(f"pictures/{picture}.png?show").status_code == 200
        if n % 8 == 0:
            window.mix("new")
        if n % 40 == 6:  # what was drawn comes back as a file
            png = client.get(re.findall(r"pictures/[0-9a-f]{64}.png\?download", mixed)[-1]).content
            [path] = client.post("gradio_api/upload", files={"files": ("board.png", png)}).json()
            mixed = window.mix("put", "auto", paths=json.dumps([path]))
            assert "brought its board back" in mixed or "mix-result" in mixed
        elif n % 2 == 0:  # a picture of the page
            mixed = window.mix("bring", f"{'subject' if n % 8 == 0 else 'reference'}.{picture}")
            assert "mix-send" in mixed
        if (n + 1) % EVERY == 0:
            found.append(state(process))
    return found


def test_memory_threads_and_files_do_not_grow_with_use(tmp_path):
    port = free_port()
    program = subprocess.Popen([sys.executable, "tests/fake_engine.py", "--data-dir", str(tmp_path / "data"), "--port", str(port), "--pause", "0"], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        with httpx.Client(base_url=program.stdout.readline().strip(), timeout=120, trust_env=False) as client:
            found = use(client, program.pid)
    finally:
        program.kill()
        program.wait()
    print(f"rounds, MiB, threads, files: {[(EVERY * (n + 1), *one) for n, one in enumerate(found)]}")
    warm, (memory, threads, files) = found[:WARM // EVERY], zip(*found[WARM // EVERY:])
    assert max(memory) <= (1.05 * warm[-1][0] if FULL else warm[-1][0] + 0.2 * (ROUNDS - WARM)), found  # 0.36 MiB a round where closed windows are held
    assert max(threads) <= max(one[1] for one in warm) + 1 and max(files) <= max(one[2] for one in warm) + 2, found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_moment_nothing_shown_is_lost_and_what_was_cut_is_done_again(tmp_path):
    command = [sys.executable, "tests/killed.py", str(tmp_path), "50" if FULL else "5", "7"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=3600)
    assert done.returncode == 0
    count = json.loads(done.stdout.splitlines()[-1])
    print(count)
    assert count["answer"] and count["turns again"] and count["lessons again"] + count.get("strips again", 0) + count.get("boards again", 0)
