"""The mixing board as HTML, by the template mix.html."""

from assistant.requests import GRID, MOST_SOURCES, MOST_SUBJECTS
from ui.html import macro

notice, bar, form, shelf, alpha, result, nearness = (
    macro("mix.html", name, most_sources=MOST_SOURCES, most_subjects=MOST_SUBJECTS, grid=GRID, switched_on=lambda on: [k for k, one in enumerate(on) if one])
    for name in ("notice", "bar", "form", "shelf", "alpha", "result", "nearness"))
