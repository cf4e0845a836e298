"""A language model of transformers as a GGUF file, in llama.cpp's layout: needs the package gguf."""

import json
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_LAYER = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
          "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write(path: Path, llm: LlamaForCausalLM, words: PreTrainedTokenizerFast, template: str | None) -> Path:
    """In 32-bit numbers."""
    from gguf import GGUFWriter, TokenType

    about, raw = llm.config, json.loads(words.backend_tokenizer.to_str())["model"]
    out = GGUFWriter(path, "llama")
    out.add_name("tiny")
    out.add_context_length(about.max_position_embeddings)
    out.add_embedding_length(about.hidden_size)
    out.add_block_count(about.num_hidden_layers)
    out.add_feed_forward_length(about.intermediate_size)
    out.add_head_count(about.num_attention_heads)
    out.add_head_count_kv(about.num_key_value_heads)
    out.add_layer_norm_rms_eps(about.rms_norm_eps)
    out.add_rope_freq_base(about.rope_parameters["rope_theta"])
    out.add_rope_dimension_count(about.head_dim)
    out.add_vocab_size(about.vocab_size)
    tokens = sorted(raw["vocab"], key=raw["vocab"].get)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types([TokenType.CONTROL if token in words.all_special_tokens else TokenType.NORMAL for token in tokens])
    out.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in raw["merges"]])
    out.add_bos_token_id(tokens.index("<|im_start|>"))
    out.add_eos_token_id(words.eos_token_id)
    out.add_add_bos_token(False)
    out.add_add_space_prefix(False)
    if template:
        out.add_chat_template(template)
    for name, tensor in llm.state_dict().items():
        stem, kind = name.rsplit(".", 1)
        if stem.startswith("model.layers."):
            number, part = stem.removeprefix("model.layers.").split(".", 1)
            named = f"blk.{number}.{_LAYER[part]}"
        else:
            named = _TOP[stem]
        if named.endswith(("attn_q", "attn_k")):  # llama.cpp turns pairs of neighbours, transformers those of two halves
            heads = about.num_attention_heads if named.endswith("q") else about.num_key_value_heads
            tensor = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)
        out.add_tensor(f"{named}.{kind}", tensor.float().contiguous().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
