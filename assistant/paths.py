"""Where this program keeps what is the user's: one folder, by platform. Knows nothing of what lies there."""

import os
from pathlib import Path

from platformdirs import user_data_path


def default_data_dir() -> Path:
    """CAFE_DATA_DIR, else the platform's folder for a user's data. Never the working directory."""
    return Path(os.environ.get("CAFE_DATA_DIR") or user_data_path("cafe-assistant", appauthor=False))


def weights_dir(preset: str) -> Path:
    """Where a preset's weights are looked for, and put, unless another folder is named: CAFE_WEIGHTS_DIR, else beside the user's data."""
    return Path(os.environ.get("CAFE_WEIGHTS_DIR") or default_data_dir() / "weights") / preset
