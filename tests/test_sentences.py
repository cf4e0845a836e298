"""Every sentence with which something is refused names what, how much is allowed, and what to do; docs/sentences.md has them all."""

import re

import pytest

from assistant.sentences import ROOT, page, sentences

FILLED_IN = re.compile(r"\d|\{|\(.+/.+\)")
LIMIT = re.compile(r"\b(?:too (?!long for one)|at most|at least|limit|as many as|out of range|can be \d)")


@pytest.mark.slow
def test_the_page_of_sentences_is_what_the_code_says():
    assert (ROOT / "docs" / "sentences.md").read_text("utf-8") == page(), "python -m assistant sentences > docs/sentences.md"


@pytest.mark.slow
def test_every_sentence_says_what_is_wrong_names_the_limit_and_what_to_do():
    found = sentences()
    assert len(found) > 250 and {one.file.partition("/")[0] for one in found} == {"app.py", "assistant", "ui"}
    for one in found:
        assert one.what and one.remedy, one
        for what in one.what.split("\n"):
            assert re.fullmatch(r"[^a-z\s].*[.?)}]", what), one
            assert not LIMIT.search(what) or FILLED_IN.search(what), one
        for remedy in one.remedy.split("\n"):
            assert re.fullmatch(r"[A-Z({].*", remedy) and (remedy.endswith((".", ")", "}")) or re.search(r"\bRun\b.*: ", remedy) or "run: " in remedy), one
