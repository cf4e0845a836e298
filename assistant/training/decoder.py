"""Trains the decoder: the base text-to-image model (a UNet2DConditionModel and its CLIPTextModel together, on latents and captions), CAFE's G, or both as one.

G (CAFE, eq. 3) is the base UNet with new two-source cross-attention, on (E(x), F(target), noised target). x and target are two pictures of one individual. E and F
are dropped independently. It knows the drawn world and sets encoded beforehand by one interface (`datasets`). As one UNet, two in five pictures of a step are drawn from captions,
three from E(x) and F(target). Text states and E(x) have one width, so both pass the same keys and values; V_H alone is CAFE's.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torchvision.utils import save_image
from transformers import CLIPTextConfig, CLIPTextModel

from ..checkpoints import load_tensors, load_vae, save_cafe, save_module
from ..config import AssistantConfig
from ..controls.cafe import Cafe, SemanticValues, training_context
from ..diffusion import attention
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import EMPTY, PATCHES, SEMANTICS, TEXT, cafe_guidance, text_guidance
from ..diffusion.latent_diffusion import LatentDiffusion
from ..world.vocabulary import bank
from .datasets import Heroes, PairSource, WorldPairs
from .loop import Task
from .losses import LAYOUT, LayoutHead, VLoss, encode_latents, inner_matrices, training_kernel
from .recipe import CafeNumbers
from .world_dataset import CAPTIONS, WorldDataset, caption_tokenizer

PROMPTS = bank("prompts")["sheet"]  # what a training's sheet shows
TWO_HEROES = 0.15  # share of captions' pictures that are drawn from those of two heroes, a fifth of all, beside their own fifth of the rest


class BaseTask(Task):
    name, lr = "base", 1e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, vae: Path, batch_size: int, warm: Path | None) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.tokenizer = caption_tokenizer(config)
        self.vae = load_vae(vae).to(device)
        if warm:
            self.text = CLIPTextModel.from_pretrained(warm / "text_encoder", dtype=torch.float32)
            self.unet = UNet2DConditionModel.from_pretrained(warm / "unet", torch_dtype=torch.float32)
        else:
            text = CLIPTextConfig(**config.decoder.text, bos_token_id=self.tokenizer.bos_token_id,
                                  eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id)
            self.text = CLIPTextModel(text)
            self.unet = UNet2DConditionModel(**config.decoder.unet, cross_attention_dim=text.hidden_size)
        if training_kernel(device) == "math":
            self.text.set_attn_implementation("eager")
        self.text.to(device).train(), self.unet.to(device).train()  # pyright: ignore[reportArgumentType]  # the libraries wrap `to`, and its self gets lost
        attention.install(self.unet, training_kernel(device))
        self.layout = LayoutHead(self.unet, config.encoders.patch_width).to(device)
        self.matrices = inner_matrices("unet", self.unet)
        self.latents = encode_latents(world, device, self.vae)
        self.vloss, self.heroes = VLoss(config, device), Heroes(world, self.latents, device)
        self.crowded = np.flatnonzero(world["companion_labels"][:len(self.latents), 0] >= 0)
        empty = self.tokenizer("", padding="max_length", max_length=self.tokenizer.model_max_length)["input_ids"]
        self.empty = np.asarray(empty, np.int16)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "text": self.text, "layout": self.layout}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        at = self.world.pictures(rng, self.batch_size)
        if len(self.crowded):
            at = np.where(rng.random(len(at)) < TWO_HEROES, rng.choice(self.crowded, len(at)), at)
        texts = self.world["captions"][at, rng.integers(0, CAPTIONS, len(at))].copy()
        texts[rng.random(len(at)) < 0.1] = self.empty
        return {"at": torch.from_numpy(at), "texts": torch.from_numpy(texts.astype(np.int64))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        at, h = batch["at"], self.heroes
        noised, t, target = self.vloss.draw(self.latents[at].float(), generator)
        states = self.text(input_ids=batch["texts"]).last_hidden_state
        predicted = self.unet(noised, t, states, return_dict=False)[0]
        v = self.vloss(predicted, target, h.weights[at])
        layout, kind = self.layout(h.masks[at], h.labels[at], h.companions(at))
        return v + LAYOUT * layout, {"v": v.detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        """A StableDiffusionPipeline folder."""
        save_module(self.unet, folder / "unet")
        save_module(self.text, folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        DDIMScheduler(**self.config.decoder.scheduler).save_pretrained(folder / "scheduler")
        index = {"_class_name": StableDiffusionPipeline.__name__, "scheduler": ["diffusers", "DDIMScheduler"],
                 "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
                 "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
                 "safety_checker": [None, None], "feature_extractor": [None, None], "image_encoder": [None, None],
                 "requires_safety_checker": False}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2))

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        decoder = LatentDiffusion(self.unet, self.vae, self.config.decoder.scheduler, self.text, self.tokenizer)
        prompts = PROMPTS * 3
        states = decoder.encode_text(prompts)
        context = AttentionContext({TEXT: states, EMPTY: decoder.encode_text([""])})
        drawn = decoder.sample(text_guidance(3.0), context, range(len(prompts)), 20, "dpm++")
        save_image(torch.from_numpy(decoder.decode(drawn.latents)).movedim(-1, 1) / 255, path, nrow=16, pad_value=1)


def decoder_from_base(base_unet: Path, patch_width: int, semantic_width: int) -> tuple[UNet2DConditionModel, SemanticValues]:
    """The base UNet with fresh keys and values of E(x)'s width in every cross-attention, and zero V_H."""
    base = UNet2DConditionModel.from_pretrained(base_unet, torch_dtype=torch.float32)
    unet = cast(UNet2DConditionModel, UNet2DConditionModel.from_config({**base.config, "cross_attention_dim": patch_width}))
    kept = {k: v for k, v in base.state_dict().items() if not k.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    unet.load_state_dict(kept, strict=False)
    attention.install(unet, "sdpa")
    return unet, SemanticValues.of(unet, semantic_width)


SHEET = 24 * 128**2  # pixels of the last sheet's pictures


class CafeTask(Task):
    """`init` is a folder with base; `warm` a CAFE decoder to go on from instead of the base UNet, `shared` a UNet that is being
    trained elsewhere too, with its layout, if its source is labelled. `checkpointing` computes activations twice instead of keeping them."""

    name = "cafe"

    def __init__(self, config: AssistantConfig, source: PairSource, device: str, init: Path, batch_size: int = 32,
                 warm: Path | None = None, compiled: bool = False, shared: tuple[UNet2DConditionModel, LayoutHead | None] | None = None,
                 numbers: CafeNumbers = CafeNumbers(), checkpointing: bool = False) -> None:
        self.config, self.source, self.device, self.init, self.batch_size = config, source, device, init, batch_size
        self.numbers, self.lr = numbers, numbers.lr
        if shared:
            self.unet = shared[0]
            self.values = SemanticValues.of(self.unet, config.mllm.semantic_width)
        else:
            self.unet, self.values = decoder_from_base(warm or init / "base" / "unet", config.encoders.patch_width, config.mllm.semantic_width)
        if warm:
            self.unet.load_state_dict(UNet2DConditionModel.from_pretrained(warm, torch_dtype=torch.float32).state_dict())
            load_tensors(warm / "semantic_values.safetensors", self.values)
        self.unet.to(device).train(), self.values.to(device).train()  # pyright: ignore[reportArgumentType]  # the libraries wrap `to`, and its self gets lost
        attention.install(self.unet, training_kernel(device))
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        if compiled:
            self.unet.compile()
        self.layout = None if not source.labelled else shared[1] if shared else LayoutHead(self.unet, config.encoders.patch_width).to(device)
        self.matrices = inner_matrices("unet", self.unet) if numbers.muon else set()
        self.vloss = VLoss(config, device, numbers.skew, numbers.middle)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "values": self.values, **({"layout": self.layout} if self.layout else {})}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        drawn = self.source.pairs(rng, self.batch_size)
        keep = (rng.random((2, self.batch_size)) >= self.numbers.dropped).astype(np.float32)
        return {**drawn, "keep": torch.from_numpy(keep)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        shown = self.source.shown(batch, generator)
        noised, t, target = self.vloss.draw(shown.latents, generator)
        context = training_context(self.values, shown.patches.float(), shown.semantics, *batch["keep"])
        predicted = self.unet(noised, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]
        if self.layout is None:
            return self.vloss(predicted, target), {}
        v = self.vloss(predicted, target, shown.weights)
        layout, kind = self.layout(shown.masks, shown.labels, shown.companions, shown.features)
        return v + LAYOUT * layout, {"v": v.detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        save_cafe(self.unet, self.values, folder)

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        """Rows of photo (where it is at hand), target, G(E(photo), F(target))."""
        count = min(len(self.source), max(2, SHEET // self.config.decoder.image_size**2))
        batch = {k: t.to(self.device) for k, t in self.source.pairs(np.random.default_rng(3), count).items()}
        shown = self.source.shown(batch)
        decoder = LatentDiffusion(self.unet, load_vae(self.init / "base/vae").to(self.device), self.config.decoder.scheduler, semantic_values=self.values)
        context = AttentionContext({PATCHES: shown.patches.float()}, {SEMANTICS: shown.semantics}, (Cafe(self.values),))
        drawn = decoder.sample(cafe_guidance(2.0, 2.0), context, range(count), 20, "dpm++").latents
        columns = [decoder.decode(x) for x in (shown.latents, drawn)]
        if (photos := self.source.photos(batch)) is not None:
            columns.insert(0, photos)
        save_image(torch.from_numpy(np.stack(columns, 1)).flatten(0, 1).movedim(-1, 1) / 255, path, nrow=4 * len(columns), pad_value=1)


PAIRS = 0.6  # share of a step's pictures that are drawn from E and F; the rest from captions


class JointTask(Task):
    name, lr = "trunk", 2e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, init: Path, batch_size: int = 64, warm: Path | None = None) -> None:
        """`init`: a folder with the trained vae, dino and clip. `warm`: a folder whose base and cafe to go on from."""
        self.batch_size, pairs = batch_size, round(PAIRS * batch_size)
        self.base = BaseTask(config, world, device, init / "base/vae", batch_size - pairs, warm and warm / "base")
        self.cafe = CafeTask(config, WorldPairs(config, world, device, init), device, init, pairs,
                             shared=(self.base.unet, self.base.layout))
        if warm:
            load_tensors(warm / "cafe/semantic_values.safetensors", self.cafe.values)
        self.matrices = self.base.matrices

    def modules(self) -> Mapping[str, nn.Module]:
        return {**self.base.modules(), **self.cafe.modules()}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        seen = np.concatenate([[0], 1 + rng.permutation(self.base.config.encoders.patch_tokens - 1)])
        return {"seen": torch.from_numpy(seen)} | {f"{of}.{k}": t for of, task in (("base", self.base), ("cafe", self.cafe)) for k, t in task.batch(rng).items()}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """One call of the UNet for both halves: a caption's tokens stand there so often that they are about as many as the patches, which changes no attention;
        of the patches those that are left over are out at random."""
        base, cafe = ({k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")} for of in ("base", "cafe"))
        shown, h, at = self.cafe.source.shown(cafe, generator), self.base.heroes, base["at"]
        states = self.base.text(input_ids=base["texts"]).last_hidden_state  # (b, N, d)
        states = states.repeat(1, max(1, shown.patches.shape[1] // states.shape[1]), 1)  # (b, kN, d)
        patches = shown.patches[:, batch["seen"][:states.shape[1]]].to(states.dtype)  # (b, kN, d)
        captions, none = states.new_ones(len(states)), states.new_zeros(len(states))
        noised, t, target = self.base.vloss.draw(torch.cat([self.base.latents[at].float(), shown.latents]), generator)
        context = training_context(self.cafe.values, torch.cat([states, patches]), torch.cat([shown.semantics[:1].expand(len(states), -1), shown.semantics]),
                             torch.cat([captions, cafe["keep"][0]]), torch.cat([none, cafe["keep"][1]]))
        predicted = self.base.unet(noised, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]
        assert shown.weights is not None and shown.masks is not None and shown.labels is not None and shown.companions is not None  # a drawn world has them
        weights, masks, labels = (torch.cat(pair) for pair in ((h.weights[at], shown.weights), (h.masks[at], shown.masks), (h.labels[at], shown.labels)))
        companions = tuple(torch.cat(pair) for pair in zip(h.companions(at), shown.companions))
        features = cast(WorldPairs, self.cafe.source).patches[torch.cat([at, cafe["target"]]), 1:]
        v = [self.base.vloss(*(part[half] for part in (predicted, target, weights))) for half in (slice(len(states)), slice(len(states), None))]
        layout, kind = self.base.layout(masks, labels, companions, features)
        return v[0].lerp(v[1], PAIRS) + LAYOUT * layout, {"base_v": v[0].detach(), "cafe_v": v[1].detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        """`base` and `cafe` below `folder`, as those two tasks write them."""
        self.base.export(folder / "base")
        save_cafe(None, self.cafe.values, folder / "cafe")

    def sheet(self, path: Path) -> None:
        """Two sheets: of words, and beside it of photos."""
        self.base.sheet(path)
        self.cafe.sheet(path.with_stem(path.stem + "-cafe"))
