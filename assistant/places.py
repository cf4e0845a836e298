"""Where this program keeps what is the user's: one folder, by platform. Knows nothing of what lies there."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_data_dir() -> Path:
    """CAFE_DATA_DIR, else the platform's folder for a user's data. Never the working directory."""
    if os.environ.get("CAFE_DATA_DIR"):
        return Path(os.environ["CAFE_DATA_DIR"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "cafe-assistant"


def weights_dir(preset: str) -> Path:
    """Where a preset's weights are looked for, and put, unless another folder is named: CAFE_WEIGHTS_DIR, else beside the user's data."""
    return Path(os.environ.get("CAFE_WEIGHTS_DIR") or default_data_dir() / "weights") / preset
