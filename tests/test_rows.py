"""Rows: which are alive, which are never computed, and guidance equal to its formula."""

import itertools

import pytest
import torch

from assistant.decoder import rows
from assistant.decoder.rows import Plan, Row, Stream, cafe_plan, guide, text_plan
from assistant.errors import ConfigError


def names(plan, step=0, steps=10):
    return [row.name for row in plan.alive(step, steps)]


def predictions():
    generator = torch.Generator().manual_seed(0)
    known = (rows.UNCONDITIONAL, rows.CONDITIONAL, rows.SUBJECT_ONLY, rows.SEMANTICS_ONLY)
    return {name: torch.randn(2, 4, 3, 3, generator=generator) for name in known}


@pytest.mark.parametrize(
    "strengths, expected",
    [
        ((2.0, 1.5), ["unconditional", "subject_only", "conditional"]),
        ((2.0, 2.0), ["unconditional", "conditional"]),
        ((2.0, 0.0), ["unconditional", "subject_only"]),
        ((1.0, 1.0), ["conditional"]),
        ((1.0, 0.0), ["subject_only"]),
        ((1.0, 3.0), ["subject_only", "conditional"]),
        ((0.0, 0.0), ["unconditional"]),
    ],
)
def test_rows_that_would_change_nothing_are_not_computed(strengths, expected):
    assert names(cafe_plan(*strengths)) == expected


def test_missing_sources_leave_their_rows_out():
    assert names(cafe_plan(2.0, 3.0, patches=False)) == ["unconditional", "semantics_only"]
    assert names(cafe_plan(2.0, 3.0, semantics=False)) == ["unconditional", "subject_only"]
    assert names(cafe_plan(2.0, 3.0, patches=False, semantics=False)) == ["unconditional"]
    assert names(text_plan(1.0)) == ["conditional"]


@pytest.mark.parametrize("w_e, w_f", [*itertools.product((0.0, 0.5, 1.0, 2.0, 7.5), repeat=2)])
def test_guidance_equals_the_full_formula_however_many_rows_are_left(w_e, w_f):
    e = predictions()
    none, subject, both = e["unconditional"], e["subject_only"], e["conditional"]
    full = none + w_e * (subject - none) + w_f * (both - subject)
    torch.testing.assert_close(guide(cafe_plan(w_e, w_f).streams[0], e), full, atol=1e-5, rtol=1e-5)


def test_text_guidance_is_bit_for_bit_the_customary_one():
    e = predictions()
    expected = e["unconditional"] + 5.0 * (e["conditional"] - e["unconditional"])
    assert torch.equal(guide(text_plan(5.0).streams[0], e), expected)


def test_a_stream_with_a_window_takes_its_rows_along():
    own = Row(rows.AUXILIARY, "auxiliary_text", stream="auxiliary")
    plan = Plan(
        (Row(rows.UNCONDITIONAL, "empty"), Row(rows.CONCEPT, "text"), own),
        (
            Stream(((rows.UNCONDITIONAL, -4.0), (rows.CONCEPT, 5.0))),
            Stream(((rows.UNCONDITIONAL, -4.0), (rows.AUXILIARY, 5.0)), "auxiliary", until=0.15),
        ),
    )
    alive = [names(plan, step, 20) for step in range(20)]
    assert all(row == ["unconditional", "concept", "auxiliary"] for row in alive[:3])
    assert all(row == ["unconditional", "concept"] for row in alive[3:])
    assert [s.name for s in plan.alive_streams(3, 20)] == ["image"]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Plan((Row("a"),), (Stream((("a", 0.5),)),)),
        lambda: Plan((Row("a"),), (Stream((("b", 1.0),)),)),
        lambda: Plan((Row("a"), Row("a")), (Stream((("a", 1.0),)),)),
        lambda: Plan((Row("a", stream="elsewhere"),), (Stream((("a", 1.0),)),)),
        lambda: Plan((Row("a"),), (Stream((("a", 1.0),), until=1.5),)),
        lambda: Plan((Row("a", stream="s"),), (Stream((("a", 1.0),)), Stream((("a", 1.0),), "s", until=0.5))),
    ],
)
def test_a_plan_that_cannot_work_is_refused(made):
    with pytest.raises(ConfigError):
        made()
