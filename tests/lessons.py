"""What tests of lessons ask for, and how they wait for it."""

import time

from assistant.requests import TrainingSpec
from tests.fake_engine import photo_of


def task(name="mug-1", noun="mug", pictures=2, **options):
    return TrainingSpec(name, noun, tuple(photo_of(n) for n in range(pictures)), options=options)


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
