"""Values of the Concepts panel as a browser sends them, brought into range. Knows no components."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

from assistant.messages import Settings

MOST = 64  # strengths that are taken from one page


def strengths(so_far: Settings, given: Any) -> Settings:
    """A JSON object, name -> strength; what is not one is passed over, and so is the usual strength of 1."""
    try:
        found = json.loads(given) if isinstance(given, str) and given else {}
    except ValueError:
        found = {}
    kept: dict[str, float] = {}
    for name, value in list(found.items())[:MOST] if isinstance(found, dict) else ():
        if isinstance(value, (int, float)) and math.isfinite(value) and value != 1:
            kept[str(name)[:40]] = min(max(float(value), 0.0), 2.0)
    return replace(so_far, strengths=kept) if kept else so_far


def options(steps: Any, residuals: Any, flip: Any) -> dict[str, Any]:
    """How a concept is learned."""
    return {"steps": _whole(steps, 20, 2000, 300), "residuals": _whole(residuals, 1, 4, 1), "flip": bool(flip)}


def _whole(value: Any, low: int, high: int, usual: int) -> int:
    return int(min(max(value, low), high)) if isinstance(value, (int, float)) and math.isfinite(value) else usual
