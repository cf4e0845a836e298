"""A preset like `open` at miniature numbers, with random weights in the published layouts: folders that the real loaders read."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import Tokenizer as Words
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import (CLIPConfig, CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig,
                          CLIPVisionModelWithProjection, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast)

from assistant.config import AdapterConfig, AdaptersConfig, AssistantConfig, ChatConfig, ClipVisionConfig, DecoderConfig
from assistant.models import chat_llm
from assistant.presets import OPEN

TEXT, SEEN, SHARED = 32, 48, 40  # widths: of the text, of the image encoder, of its projection
SIDE, PATCHES = 32, 17  # px of the image encoder's input; 4 x 4 patches and the class token
SCHEDULER = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                 set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon")
UNET = dict(sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(32, 64), norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4)
VAE = dict(sample_size=32, block_out_channels=(16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=8,
           down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
WORDS = dict(hidden_size=TEXT, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=16, projection_dim=TEXT)
VISION = dict(hidden_size=SEEN, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=SIDE, patch_size=8,
              projection_dim=SHARED)
LAYERS = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2)
SEGMENTATION = dict(text_config=dict(LAYERS, vocab_size=55, bos_token_id=53, eos_token_id=54), vision_config=dict(LAYERS, image_size=32, patch_size=16),
                    projection_dim=24, reduce_dim=16, extract_layers=[0, 1, 2], decoder_num_attention_heads=2, decoder_intermediate_size=32,
                    use_complex_transposed_convolution=True)  # as CIDAS/clipseg-rd64-refined


def tokenizer(**special: str) -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = [*letters, *(c + "</w>" for c in letters), ",</w>", "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(vocab)}, merges=[], model_max_length=16, **special)


def modules(seed: int = 0) -> dict[str, object]:
    """By their folders' names."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        words = tokenizer()
        about = CLIPTextConfig(vocab_size=len(words), bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, **WORDS)
        return {"unet": UNet2DConditionModel(cross_attention_dim=TEXT, **UNET).eval(), "vae": AutoencoderKL(**VAE).eval(),
                "text_encoder": CLIPTextModel(about).eval(), "tokenizer": words, "scheduler": DDIMScheduler(**SCHEDULER),
                "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)).eval()}


def published(widths: list[int], plus: bool, seed: int = 0, text: int = TEXT) -> dict[str, Tensor]:
    """An adapter's tensors as published: of kind plus (hidden 64, 4 layers, 6 tokens) or plain (4 tokens), none of them zero.

    Args:
        widths: of the cross-attention layers, in the UNet's order. text: of what they read.
    """
    generator, hidden = torch.Generator().manual_seed(seed), 64

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    found = {f"ip_adapter.{2 * n + 1}.{part}.weight": 2 * some(inner, text) for n, inner in enumerate(widths) for part in ("to_k_ip", "to_v_ip")}
    norm = lambda name, width: {f"image_proj.{name}.weight": 1 + some(width), f"image_proj.{name}.bias": some(width)}  # noqa: E731
    linear = lambda name, out, into: {f"image_proj.{name}.weight": some(out, into), f"image_proj.{name}.bias": some(out)}  # noqa: E731
    if not plus:
        return found | linear("proj", 4 * text, SHARED) | norm("norm", text)
    found |= {"image_proj.latents": some(1, 6, hidden)} | linear("proj_in", hidden, SEEN) | linear("proj_out", text, hidden) | norm("norm_out", text)
    for n in range(4):
        layer = f"layers.{n}"
        found |= norm(f"{layer}.0.norm1", hidden) | norm(f"{layer}.0.norm2", hidden) | norm(f"{layer}.1.0", hidden)
        for name, out, into in (("0.to_q", hidden, hidden), ("0.to_kv", 2 * hidden, hidden), ("0.to_out", hidden, hidden),
                                ("1.1", 4 * hidden, hidden), ("1.3", hidden, 4 * hidden)):
            found[f"image_proj.{layer}.{name}.weight"] = some(out, into)
    return found


def widths(unet: UNet2DConditionModel) -> list[int]:
    return [unet.get_submodule(name.removesuffix(".processor")).inner_dim for name in unet.attn_processors if "attn2" in name]


def write_adapter(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
CONFIG = AssistantConfig(
    name="open", vision=ClipVisionConfig(VISION, SEGMENTATION), language=ChatConfig(max_new_tokens=12),
    decoder=DecoderConfig(unet=UNET, vae=VAE, text=WORDS, scheduler=SCHEDULER, image_size=SIDE, steps=3, guidance_unit=2.0,
                          latents_rgb=((0.3, 0.2, 0.2), (0.2, 0.3, 0.2), (-0.2, 0.2, 0.3), (-0.2, -0.3, -0.5))),
    adapters=AdaptersConfig(AdapterConfig("plus.safetensors", True, 6, 0.4, hidden=64), AdapterConfig("plain.safetensors", False, 4, 0.6),
                            praise="fine", negative="blur"),
    notice="Tiny.", sources={part: replace(source, files=("plus.safetensors", "plain.safetensors")) if part == "adapters" else source
                             for part, source in OPEN.sources.items()}, safety=OPEN.safety)


def segmenter(folder: Path) -> CLIPSegForImageSegmentation:
    """A CLIPSeg in the published files."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPSegForImageSegmentation(CLIPSegConfig(**SEGMENTATION)).eval()
    model.save_pretrained(folder)
    words = tokenizer()
    words.save_pretrained(folder)
    return model


def safety_checker(folder: Path, threshold: float = 2.0) -> None:
    """Stable Diffusion's own, in its half-precision file, which takes no picture for unsafe; with a threshold of -2 it takes all."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=dict(LAYERS, image_size=32, patch_size=16), projection_dim=24)).eval()
        for name in ("concept_embeds", "special_care_embeds"):
            torch.nn.init.normal_(getattr(model, name))
    torch.nn.init.constant_(model.concept_embeds_weights, threshold)
    torch.nn.init.constant_(model.special_care_embeds_weights, 2.0)
    model.half().save_pretrained(folder, variant="fp16")


def speaker(seed: int = 0, template: str | None = CHATML) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A language model that says nothing sensible, and a tokenizer with a chat template."""
    raw = Words(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.train_from_iterator([chat_llm.RULES], trainers.BpeTrainer(vocab_size=400, special_tokens=["<|im_start|>", "<|im_end|>"], show_progress=False,
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    words = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"])
    words.chat_template = template
    about = LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                        max_position_embeddings=4096, eos_token_id=words.eos_token_id, bos_token_id=None)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(about).eval(), words


def write(folder: Path, parts: dict[str, object] | None = None) -> Path:
    """The whole preset as its loaders want it, of these modules or its own."""
    parts = parts or modules()
    for name in parts.keys() - {"image_encoder"}:
        parts[name].save_pretrained(folder / "base" / name)
    parts["image_encoder"].save_pretrained(folder / "image_encoder")
    for seed, about in enumerate((CONFIG.adapters.subject, CONFIG.adapters.semantics)):
        write_adapter(folder / "adapters" / about.file, published(widths(parts["unet"]), about.plus, seed, parts["unet"].config.cross_attention_dim))
    for part in speaker():
        part.save_pretrained(folder / CONFIG.language.folder)
    segmenter(folder / "clipseg")
    safety_checker(folder / "safety_checker")
    return folder
