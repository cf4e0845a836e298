"""The endpoints for other programs: every example of docs/api.md runs, and nothing of another's is given out."""

import io
import re
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.fake_engine import FakeEngine, draw

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The page for this computer alone."""
    from assistant.session.manager import SessionManager
    from assistant.session.store import Store
    from ui.serve import Address, start

    store = Store(tmp_path_factory.mktemp("data"))
    manager = SessionManager(FakeEngine(), store)
    page, url = start(manager, Address(), store.folder)
    yield manager, url
    page.close()
    manager.close()
    store.close()


@pytest.mark.slow
def test_the_documents_examples_run(plain, tmp_path, monkeypatch):
    manager, url = plain
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("cat", "fox")):
        draw(number, 160).save(f"{name}.png")
    document = (ROOT / "docs" / "api.md").read_text("utf-8")
    blocks, known = re.findall(r"```python\n(.*?)```", document, re.DOTALL), {}
    for block in blocks:
        exec(block.replace("http://127.0.0.1:7860", url), known)
    assert known["answer"]["seed"] == 7 and known["again"]["conversation"] == known["answer"]["conversation"]
    assert len(manager.open(known["answer"]["conversation"], "local")[1]) == 2
    assert Image.open(io.BytesIO(known["png"])).size == (128, 128)
    assert known["mixed"]["picture"].startswith("pictures/") and len(known["mixed"]["references"]) == 2
    assert known["learned"] == {"name": "tom", "kind": "ico", "steps": 20, "status": "done"} and known["names"] == ["tom"]
    assert [one["lambda"] for one in known["strip"]["pictures"]] == sorted(one["lambda"] for one in known["strip"]["pictures"])
    named = {name for block in blocks for name in re.findall(r'api_name="(/\w+)"', block)}
    assert named == set(known["client"].view_api(return_format="dict", print_info=False)["named_endpoints"])


@pytest.mark.slow
def test_what_cannot_be_done_is_the_pages_sentence_and_leaves_nothing(plain, tmp_path):
    manager, url = plain
    client = Client(url, verbose=False)
    before = len(manager.list("local"))
    notes = tmp_path / "notes.png"
    notes.write_text("this is text\n" * 20)
    for arguments, name, sentence in (
            (("",), "/turn", "There is nothing to answer yet."), (("x", handle_file(notes)), "/turn", "This is a text file"),
            (("x", {"path": str(ROOT / "app.py"), "meta": {}}), "/turn", "not here any more"), (("x", None, "of-another"), "/turn", "not here any more"),
            (("x", None, "", -1), "/turn", "not a whole number"), (("tom", "cat", [], "lora"), "/learn", "no kind 'lora'")):
        with pytest.raises(AppError, match=sentence):
            client.predict(*arguments, api_name=name)
    assert len(manager.list("local")) == before


@pytest.mark.slow
def test_who_signs_in_gets_what_is_theirs(served):
    manager, store, url = served
    ada, eve = Client(url, auth=("ada", "one"), verbose=False), Client(url, auth=("eve", "two"), verbose=False)
    mine = ada.predict("a secret hat", steps=1, api_name="/turn")
    with pytest.raises(AppError, match="not here any more"):
        eve.predict("what was it?", conversation=mine["conversation"], api_name="/turn")
    manager.delete(mine["conversation"], "user:ada")
