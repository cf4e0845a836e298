"""A Qwen3-VL and a LLaVA of a few thousand random weights, in folders with the files, names and templates of the published ones.

Files and configurations are those of Qwen/Qwen3-VL-2B-Instruct and llava-hf/llava-1.5-7b-hf; numbers are smaller, templates do the same in fewer words.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Words
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import (LlamaTokenizer, LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel, Qwen2Tokenizer, Qwen3VLConfig,
                          Qwen3VLForConditionalGeneration)

from assistant.models import chat_llm

QWEN_FILES = ("chat_template.json", "config.json", "generation_config.json", "merges.txt", "model.safetensors", "preprocessor_config.json",
              "tokenizer.json", "tokenizer_config.json", "video_preprocessor_config.json", "vocab.json")
LLAVA_FILES = ("chat_template.json", "config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
               "processor_config.json", "tokenizer.json", "tokenizer_config.json")

QWEN_TEMPLATE = """\
{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' }}
{%- if messages[0].content is string %}{{- messages[0].content }}{%- else %}{%- for part in messages[0].content %}{{- part.text }}{%- endfor %}{%- endif %}
{{- '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{%- if message.role != 'system' %}{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}{{- message.content }}
{%- else %}{%- for part in message.content %}{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{%- elif 'text' in part %}
{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
LLAVA_TEMPLATE = (  # a message whose content is a string says nothing here, as in the published one
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' '}}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")


def _trained(byte_level: bool, first: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary and merges of what a chat model is told."""
    raw = Words(models.BPE(byte_fallback=not byte_level, unk_token=None if byte_level else "<unk>"))
    if byte_level:
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.train_from_iterator([chat_llm.RULES], trainers.BpeTrainer(vocab_size=400 + len(first), special_tokens=first, show_progress=False,
                                                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else []))
    kept = json.loads(raw.to_str())["model"]
    return kept["vocab"], [tuple(pair) for pair in kept["merges"]]


def _write(folder: Path, model: PreTrainedModel, **files: dict) -> Path:
    model.save_pretrained(folder)
    renamed = {name.replace("vision_tower.", "vision_tower.vision_model."): t for name, t in load_file(folder / "model.safetensors").items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})  # as LLaVA's are called in what is published
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2))
    return folder


def _seeded(kind: type[PreTrainedModel], config, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config).eval()
        for name, parameter in model.named_parameters():  # layers outweigh the last token, so that what is seen and said before changes the words
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1 if "embed" in name else 0.4)
    return model


def qwen(folder: Path, seed: int = 0) -> Path:
    """As Qwen/Qwen3-VL-2B-Instruct: deepstack, interleaved positions in three dimensions, tied embeddings."""
    vocab, merges = _trained(True, [])
    words = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=[
        "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"])
    words.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]))
    ids = {name: words.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end", "im_end", "endoftext")}
    config = Qwen3VLConfig(
        text_config=dict(vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                         head_dim=16, max_position_embeddings=4096, tie_word_embeddings=True,
                         rope_parameters=dict(rope_type="default", rope_theta=5e6, mrope_section=[4, 2, 2], mrope_interleaved=True)),
        vision_config=dict(depth=3, hidden_size=32, intermediate_size=64, num_heads=2, patch_size=16, spatial_merge_size=2, temporal_patch_size=2,
                           out_hidden_size=32, num_position_embeddings=16, deepstack_visual_indexes=[0, 1]),
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
        tie_word_embeddings=True)
    model = _seeded(Qwen3VLForConditionalGeneration, config, seed)
    model.generation_config.eos_token_id = [ids["im_end"], ids["endoftext"]]
    sizes = dict(patch_size=16, temporal_patch_size=2, merge_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3, processor_class="Qwen3VLProcessor")
    return _write(folder, model, chat_template={"chat_template": QWEN_TEMPLATE},
                  preprocessor_config=dict(sizes, size=dict(shortest_edge=64 * 64, longest_edge=96 * 96), image_processor_type="Qwen2VLImageProcessorFast"),
                  video_preprocessor_config=dict(sizes, size=dict(shortest_edge=4096, longest_edge=65536), video_processor_type="Qwen3VLVideoProcessor"))


def llava(folder: Path, seed: int = 0) -> Path:
    """As llava-hf/llava-1.5-7b-hf: CLIP's patches but the class token's through two layers into a Llama."""
    vocab, merges = _trained(False, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])
    words = LlamaTokenizer(vocab=vocab, merges=merges, extra_special_tokens=["<image>"], pad_token="<pad>", legacy=False)
    words.save_pretrained(folder)
    config = LlavaConfig(
        text_config=dict(model_type="llama", vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                         max_position_embeddings=4096, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id),
        vision_config=dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, patch_size=14,
                           image_size=56, projection_dim=16, vocab_size=32),
        image_token_index=words.convert_tokens_to_ids("<image>"), image_seq_length=16)
    model = _seeded(LlavaForConditionalGeneration, config, seed)
    model.generation_config.eos_token_id = words.eos_token_id
    return _write(folder, model, chat_template={"chat_template": LLAVA_TEMPLATE},
                  processor_config=dict(image_token="<image>", patch_size=14, num_additional_image_tokens=1, vision_feature_select_strategy="default",
                                        processor_class="LlavaProcessor"),
                  preprocessor_config=dict(crop_size=dict(height=56, width=56), size=dict(shortest_edge=56), do_center_crop=True, do_convert_rgb=True,
                                           do_normalize=True, do_rescale=True, do_resize=True, image_processor_type="CLIPImageProcessor",
                                           image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
                                           processor_class="LlavaProcessor", resample=3, rescale_factor=1 / 255))
