"""A preset like `flux` at miniature numbers, with random weights in the published layouts: folders that the real loaders, and stock diffusers, read."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from tokenizers import Tokenizer as Words
from tokenizers import models, pre_tokenizers, trainers
from transformers import Dinov2Config, Dinov2Model, Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

from assistant.config import AssistantConfig, ChatConfig, FlowConfig, LikenessConfig
from assistant.models import chat_llm
from assistant.presets import FLUX
from tests import tiny_open

SIDE = 64
DINO = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2)
VAE = dict(block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=SIDE,
           down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
TRANSFORMER = dict(in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=96, mlp_ratio=3.0,
                   axes_dims_rope=(4, 4, 4, 4), rope_theta=2000, guidance_embeds=False)
# layers 9, 18 and 27 are read
TEXT = dict(vocab_size=400, hidden_size=32, intermediate_size=32, num_hidden_layers=28, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
            max_position_embeddings=4096, tie_word_embeddings=True)
SCHEDULER = dict(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096, time_shift_type="exponential")
CONFIG = AssistantConfig(
    name="flux", vision=LikenessConfig(DINO, side=28), language=ChatConfig(folder="flux/text_encoder", max_new_tokens=12),
    decoder=replace(tiny_open.CONFIG.decoder, steps=3, recipes={"infusion": dict(steps=2)}),
    flow=FlowConfig("FLUX.2 klein, tiny", "Stable Diffusion, tiny", TRANSFORMER, VAE, TEXT, SIDE, references=4, steps=3), notice="Tiny.", sources=FLUX.sources)


def tokenizer() -> Qwen2TokenizerFast:
    raw = Words(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw.train_from_iterator([chat_llm.RULES], trainers.BpeTrainer(vocab_size=TEXT["vocab_size"] - len(marks), show_progress=False,
                                                                 initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    vocab = raw.get_vocab()
    merges = [tuple(pair) for pair in json.loads(raw.to_str())["model"]["merges"]]
    words = Qwen2TokenizerFast(vocab=vocab, merges=merges, unk_token="<|endoftext|>", pad_token="<|endoftext|>", eos_token="<|im_end|>",
                               additional_special_tokens=["<|im_start|>"])
    words.chat_template = tiny_open.CHATML
    return words


def pipeline(seed: int = 0) -> Flux2KleinPipeline:
    """A Flux2KleinPipeline; its autoencoder's statistics are not those of a fresh one, and no weight of the transformer is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        words = tokenizer()
        vae = AutoencoderKLFlux2(**VAE).eval()
        vae.bn.running_mean.normal_(0, 0.1), vae.bn.running_var.uniform_(0.5, 1.5)
        about = Qwen3Config(**TEXT, eos_token_id=words.eos_token_id, bos_token_id=None, pad_token_id=words.pad_token_id)
        return Flux2KleinPipeline(FlowMatchEulerDiscreteScheduler(**SCHEDULER), vae, Qwen3ForCausalLM(about).eval(), words,
                                  Flux2Transformer2DModel(**TRANSFORMER).eval(), is_distilled=True)


def write(folder: Path) -> Path:
    """The whole preset as its loaders want it."""
    pipeline().save_pretrained(folder / "flux")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        Dinov2Model(Dinov2Config(**DINO)).save_pretrained(folder / "dino")
    parts = tiny_open.modules()
    for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        parts[name].save_pretrained(folder / "base" / name)
    return folder
