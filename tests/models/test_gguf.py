"""`--llm FILE.gguf`: a Llama-shaped chat model in one file, read into the same numbers and tokens as its folder."""

import pytest
import torch

from assistant import checkpoints, model_factory
from assistant.config import ChatConfig
from assistant.errors import ConfigError, WeightsError
from assistant.memory.budget import sizes
from assistant.presets import OPEN, with_llm
from tests import tiny_gguf
from tests import tiny_open as tiny

@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", *tiny.speaker(), tiny.CHATML)


def test_a_gguf_file_is_the_same_model_as_its_folder(written) -> None:
    llm, words = tiny.speaker()
    chat = model_factory.load_chat(ChatConfig(max_new_tokens=12), written)
    prompt, own = chat.prompt([], "a hat, please: 2024!", True), model_factory.ChatModel(ChatConfig(max_new_tokens=12), llm, words)
    assert prompt["input_ids"].tolist() == own.prompt([], "a hat, please: 2024!", True)["input_ids"].tolist()
    assert chat._ends >= {words.eos_token_id} and chat.clean("a<|im_end|>b") == "a b" and not chat.sees
    with torch.no_grad():
        assert torch.allclose(chat.llm(prompt["input_ids"]).logits, llm(prompt["input_ids"]).logits, atol=1e-5)
    assert model_factory.load_chat(ChatConfig(), written, torch.bfloat16).llm.dtype == torch.bfloat16


def test_it_is_named_like_a_folder_and_counts_in_the_memory_plan(written) -> None:
    config = with_llm(OPEN, str(written))
    assert config.language.folder == str(written.resolve()) and "llm" not in config.sources
    assert sizes(config, written.parent)["llm"] == sum(p.numel() for p in tiny.speaker()[0].parameters())


def test_a_file_that_cannot_be_one_is_told_in_a_sentence(written, tmp_path) -> None:
    with pytest.raises(WeightsError, match="no chat template"):
        model_factory.load_chat(ChatConfig(), tiny_gguf.write(tmp_path / "dumb.gguf", *tiny.speaker(), None))
    with pytest.raises(WeightsError, match="cannot be put into 4 bits again"):
        model_factory.load_chat(ChatConfig(), written, quantization_config=object())
    broken = tmp_path / "broken.gguf"
    for size in (3000, len(written.read_bytes()) - 5000):  # within the head, within the weights
        broken.write_bytes(written.read_bytes()[:size])
        with pytest.raises(WeightsError, match="cannot be read"):
            model_factory.load_chat(ChatConfig(), broken)


def test_without_the_package_the_sentence_names_it(tmp_path, monkeypatch) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="the package gguf, which reads it, is not installed. Run: pip install gguf"):
        model_factory.load_chat(ChatConfig(), path)
    with pytest.raises(ConfigError, match="There is no GGUF file 'some/other.gguf' here"):
        with_llm(OPEN, "some/other.gguf")
