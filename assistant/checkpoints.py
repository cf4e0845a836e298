"""The only place that reads or writes model files: safetensors in the layouts that stock libraries load; of a chat model a GGUF file, too, which is read.

Knows the shape of a checkpoint folder; knows no training and no requests. Pickled weights are never opened.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .config import AssistantConfig
from .controls.cafe import SemanticValues
from .diffusion.latent_diffusion import LatentDiffusion
from .errors import WeightsError, is_shortage
from .files import SHARED, write_whole
from .models.mllm import Bridge, MultimodalLLM, PromptBuilder
from .models.vision_encoders import AttributeClassifier, OutOfDistribution, VisionEncoders

SHARD = "9MB"  # Hugging Face Spaces takes files up to 10 MB without LFS
LARGE = 2**28  # bytes; a module of more is cut into fewer files: no Space would hold it
GGUF = ".gguf"
IGNORED = (".position_ids", ".inv_freq")  # buffers that older files of the same models hold, and that are made anew
CLIP_PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic", "resize_mode": "squash"}


# --- building and writing ---------------------------------------------------------------------------------------------

def build_clip(config: str | Mapping[str, Any]) -> Any:
    """An open_clip model with random weights, of a registry name or a model_cfg."""
    if isinstance(config, str):
        return open_clip.create_model(config, pretrained=None, device=torch.get_default_device())
    vision, text = config["vision_cfg"], config["text_cfg"]
    model = open_clip.CLIP(config["embed_dim"], vision, text)
    for name in ("mean", "std"):
        setattr(model.visual, f"image_{name}", tuple(CLIP_PREPROCESS[name]))
    return model


def drop_shards(folder: Path) -> None:
    """Remove a stock module's weights from its folder: the next may have another number of shards."""
    for stale in folder.glob("*model*.safetensors*"):
        stale.unlink()


def save_module(module: Any, folder: Path) -> None:
    """Write a diffusers or transformers module in half precision, in its own layout, sharded; what else is there stays."""
    drop_shards(folder)
    shard = SHARD if 2 * sum(p.numel() for p in module.parameters()) < LARGE else "2GB"
    copy.deepcopy(module).cpu().half().save_pretrained(folder, max_shard_size=shard, safe_serialization=True)
    config = folder / "config.json"
    about = json.loads(config.read_text())
    about.pop("_name_or_path", None)  # where it was loaded from is nobody's business
    if "dtype" in about:
        about["dtype"] = "float32"  # in which transformers loads it unless told otherwise, as diffusers does: a pipeline needs one for all
    config.write_text(json.dumps(about, indent=2) + "\n")


def save_clip(clip: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Write an open_clip model as a `local-dir:` folder (its tokenizer is written beside it by the tokenizer stage)."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model_cfg": dict(config), "preprocess_cfg": CLIP_PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(about, indent=2))
    save_tensors(folder / "open_clip_model.safetensors", clip.state_dict(), {"format": "pt"})


def save_llama(llama: nn.Module, tokenizer: Any, folder: Path) -> None:
    save_module(llama, folder)
    tokenizer.save_pretrained(folder)


def save_preview(folder: Path, matrix: Tensor, bias: Tensor) -> None:
    """Write the linear map from latents (C) to RGB beside the autoencoder."""
    save_tensors(folder / "preview.safetensors", {"matrix": matrix, "bias": bias}, {"kind": "latents to RGB"})


def save_ood(model: OutOfDistribution, folder: Path) -> None:
    """Write out-of-distribution detection to `folder`/ood."""
    save_tensors(folder / "ood/ood.safetensors", model.state_dict(), {"kind": "out-of-distribution detection on E and F"})


def save_attributes(model: AttributeClassifier, folder: Path) -> None:
    """Write the attribute classifier to `folder`/attributes."""
    save_tensors(folder / "attributes/attributes.safetensors", model.state_dict(), {"kind": "attributes of a picture, read from E and F"})


def save_bridge(bridge: Bridge, folder: Path) -> None:
    save_tensors(folder / "bridge.safetensors", bridge.state_dict(), {"kind": "CAFE: V, H and the learnable token"})


def save_cafe(unet: nn.Module | None, values: SemanticValues, folder: Path) -> None:
    """`unet`: None where it is the base model's."""
    if unet is not None:
        save_module(unet, folder)
    save_tensors(folder / "semantic_values.safetensors", values.state_dict(), {"kind": "CAFE: V_H of every cross-attention"})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors in half precision with self-describing metadata; the old file stays until the new one is whole."""
    halves = {k: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous() for k, t in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(halves, {"format": "pt", **about}), SHARED)


# --- reading ----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if is_shortage(error):  # of memory: the file is sound
            raise
        raise WeightsError(f"The {what} cannot be read ({error}).", "Get the complete project again.") from error


def load_tensors(path: Path, module: nn.Module) -> None:
    """Fill a module strictly from a safetensors file.

    Raises:
        WeightsError: not safetensors, other names or shapes, or a number that is not finite.
    """
    with reading(f"file {path.name}"):
        tensors = load_file(path)
        if not all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()):
            raise WeightsError(f"The file {path.name} holds numbers that are not finite.", "Get the complete project again.")
        module.load_state_dict({k: t.float() for k, t in tensors.items()}, strict=True)


def load_preview(folder: Path) -> tuple[Tensor, Tensor]:
    """(C, 3) and (3,), that lie beside an autoencoder."""
    with reading("preview map"), safe_open(folder / "preview.safetensors", "pt") as file:
        return file.get_tensor("matrix").float(), file.get_tensor("bias").float()


def frozen(folder: Path, cls: Any, dtype: torch.dtype = torch.float32, **extra: Any) -> Any:
    """A frozen stock module from its own layout, strictly: every weight is there, of its shape, and no other."""
    with reading(f"{cls.__name__} in {folder.name!r}"):
        key = "torch_dtype" if cls.__module__.startswith("diffusers.models") else "dtype"
        module, found = cls.from_pretrained(folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **{key: dtype}, **extra)
    odd = [name for name in found["unexpected_keys"] if not f".{name}".endswith(IGNORED)]
    for what, names in (("lack", found["missing_keys"]), ("have of another shape", found["mismatched_keys"]), ("have beside them", odd)):
        if names:
            raise WeightsError(f"The weights in {folder.name!r} do not fit a {cls.__name__}: they {what} {sorted(map(str, names))[0]} "
                               f"({len(names)} in all).", "Get the part again, or correct its config.json.")
    return module.eval().requires_grad_(False)


def load_clip(config: AssistantConfig, folder: Path) -> Any:
    clip = build_clip(config.encoders.clip)
    load_tensors(folder / "open_clip_model.safetensors", clip)
    return clip.eval().requires_grad_(False)


def load_vision(config: AssistantConfig, folder: Path, dtype: torch.dtype = torch.float32) -> VisionEncoders:
    from transformers import Dinov2Model

    clip = load_clip(config, folder / "clip").to(dtype)
    vision = VisionEncoders(config.encoders, frozen(folder / "dino", Dinov2Model, dtype), clip, text_encoder(config, clip, folder / "clip"), config.nouns)
    if config.encoders.ood and (folder / "ood").exists():  # a training's own folder may not have it yet
        vision.ood = OutOfDistribution(config.encoders.patch_width, config.mllm.semantic_width)
        load_tensors(folder / "ood/ood.safetensors", vision.ood)
        vision.ood.eval().requires_grad_(False)
    if config.encoders.attributes and (folder / "attributes").exists():
        vision.attributes = attribute_classifier(config)
        load_tensors(folder / "attributes/attributes.safetensors", vision.attributes)
        vision.attributes.eval().requires_grad_(False)
    return vision


def attribute_classifier(config: AssistantConfig) -> AttributeClassifier:
    """Untrained, as a preset says."""
    vision = config.encoders
    return AttributeClassifier(vision.patch_width, config.mllm.semantic_width, vision.patch_tokens - 1, vision.attributes, vision.worn_things, vision.worn_colours)


def text_encoder(config: AssistantConfig, clip: Any, folder: Path) -> Callable[[Sequence[str]], Tensor]:
    """The text tower of an open_clip model as a function: n texts -> their unit embeddings (n, d_F)."""
    with reading("tokenizer of the image encoder"):
        tokenizer = open_clip.get_tokenizer(config.encoders.clip if isinstance(config.encoders.clip, str) else f"local-dir:{folder}")

    @torch.no_grad()
    def embed(texts: Sequence[str]) -> Tensor:
        return F.normalize(clip.encode_text(tokenizer(list(texts)).to(clip.logit_scale.device)).float(), dim=-1)

    return embed


def numbers_in(folder: Path) -> tuple[int, int]:
    """How many numbers a stock module's weights hold, and the largest of its matrices, from the headers of its files; a byte of what was quantised
    before counts as half a number, since it stays one byte. (0, 0): there are none. `folder`: or a GGUF file."""
    if folder.suffix.lower() == GGUF:
        return _numbers_in_gguf(folder)
    index = folder / "model.safetensors.index.json"
    with reading(f"weights in {folder.name!r}"):
        names = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["model.safetensors"]
        found: list[float] = []
        for path in (folder / name for name in names if (folder / name).exists()):
            with safe_open(path, "pt") as file:
                slices = [file.get_slice(name) for name in file.keys()]
                found += [math.prod(one.get_shape()) * (0.5 if one.get_dtype() in ("U8", "I8", "F8_E4M3") else 1) for one in slices]
    return int(sum(found)), int(max(found, default=0))


def _numbers_in_gguf(path: Path) -> tuple[int, int]:
    if find_spec("gguf") is None:
        raise WeightsError(f"The language model {path.name!r} is a GGUF file, and the package gguf, which reads it, is not installed.", "Run: pip install gguf")
    from gguf import GGUFReader

    with reading(f"file {path.name}"):
        try:
            sizes = [int(tensor.n_elements) for tensor in GGUFReader(path).tensors]
        except IndexError as error:
            raise ValueError("it breaks off") from error
    return sum(sizes), max(sizes, default=0)


def can_quantise() -> bool:
    """Whether the optional package for 4-bit weights is here."""
    return find_spec("bitsandbytes") is not None


def in_4_bits(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """How `from_pretrained` loads a language model in 4 bits: NF4 with arithmetic in `dtype` (Dettmers et al., 2023)."""
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": quantised, "device_map": {"": device}}


def load_llama(folder: Path, dtype: torch.dtype = torch.float32, **extra: Any) -> tuple[Any, Any]:
    """`extra`: as `from_pretrained` takes it, where to and how coarsely."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    with reading("tokenizer of the language model"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return frozen(folder, LlamaForCausalLM, dtype, **extra), tokenizer


TAUGHT = "taught_words.json"  # beside an M that was trained from scratch: every word that it was taught to say
OUTSIDE = "outside_words.json"  # what it was taught that its decoder cannot draw: in the singular -> as it is said


def load_language(config: AssistantConfig, folder: Path, dtype: torch.dtype = torch.float32, **extra: Any) -> MultimodalLLM:
    """M with its bridges, which stay in float32. `extra` as of `load_llama`."""
    llama, tokenizer = load_llama(folder / "llama", dtype, **extra)
    bridge = Bridge(config.mllm, config.encoders.patch_width)
    load_tensors(folder / "bridge" / "bridge.safetensors", bridge)
    words, outside = (json.loads(place.read_text()) if place.exists() else () for place in (folder / "llama" / TAUGHT, folder / "llama" / OUTSIDE))
    return MultimodalLLM(config.mllm, llama, bridge.eval().requires_grad_(False), PromptBuilder(config.mllm, tokenizer), frozenset(words), dict(outside))


def load_vae(folder: Path) -> Any:
    from diffusers import AutoencoderKL

    return frozen(folder, AutoencoderKL)


def load_tokenizer(folder: Path, name: str = "tokenizer") -> Any:
    """The base model's."""
    from transformers import CLIPTokenizer

    with reading(f"{name} of the base model"):
        return CLIPTokenizer.from_pretrained(folder / "base" / name, local_files_only=True)


def _preview(config: AssistantConfig, vae: Path) -> tuple[Tensor, Tensor]:
    """The map to rough colours that the preset states, or that lies beside its autoencoder."""
    if not config.decoder.latents_rgb:
        return load_preview(vae)
    return torch.tensor(config.decoder.latents_rgb) / 2, torch.full((3,), 0.5)  # -1..1 to 0..1


def load_base(config: AssistantConfig, folder: Path, kernel: str = "auto", dtype: torch.dtype = torch.float32) -> LatentDiffusion:
    """The base text-to-image model. `dtype` is that of UNet and text encoders."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    base = folder / "base"
    unet = frozen(base / "unet", UNet2DConditionModel, dtype)
    if config.decoder.recompute:
        unet.enable_gradient_checkpointing()
    second = {} if config.decoder.text_2 is None else {"text_encoder_2": frozen(base / "text_encoder_2", CLIPTextModelWithProjection, dtype),
                                                       "tokenizer_2": load_tokenizer(folder, "tokenizer_2")}
    return LatentDiffusion(unet, load_vae(base / "vae"), config.decoder.scheduler, frozen(base / "text_encoder", CLIPTextModel, dtype),
                     load_tokenizer(folder), preview=_preview(config, base / "vae"), kernel=kernel, guided_every=config.decoder.guided_every, **second)


def load_cafe(config: AssistantConfig, folder: Path, kernel: str = "auto", dtype: torch.dtype = torch.float32,
              base: LatentDiffusion | None = None) -> LatentDiffusion:
    """CAFE's decoder G. A joint one is the base model itself, with V_H beside its UNet; another has a UNet of its own and shares the
    autoencoder.

    Args:
        base: the base model, if it is loaded already.
    """
    from diffusers import UNet2DConditionModel

    if config.decoder.joint:
        decoder = base or load_base(config, folder, kernel, dtype)
    else:
        vae = folder / "base" / "vae"
        decoder = LatentDiffusion(frozen(folder / "cafe", UNet2DConditionModel, dtype), base.vae if base else load_vae(vae), config.decoder.scheduler,
                            preview=_preview(config, vae), kernel=kernel)
    values = SemanticValues.of(decoder.unet, config.mllm.semantic_width)
    load_tensors(folder / "cafe" / "semantic_values.safetensors", values)
    decoder.semantic_values = values.eval().requires_grad_(False)
    return decoder
