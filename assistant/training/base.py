"""Trains the base text-to-image model: a UNet2DConditionModel and its CLIPTextModel together, on latents and captions."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torchvision.utils import save_image
from transformers import CLIPTextConfig, CLIPTextModel

from ..config import AssistantConfig
from ..diffusion import attention
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import text_guidance
from ..checkpoints import load_vae, save_module
from .world_dataset import CAPTIONS, WorldDataset
from .losses import LAYOUT, LayoutHead, VLoss, encode_latents, inner_matrices, training_kernel
from .datasets import Heroes
from .tokenizer_paths import caption_tokenizer

PROMPTS = ("a red cat on the beach", "a blue dog with white stripes in space, pixel art", "a green bear wearing a yellow hat in the snow",
           "watercolour of a pink bunny in a garden", "an orange fox at night in the city", "a purple owl in a library, papercut",
           "a yellow duck with a red scarf at the castle", "a teal fish underwater", "a brown turtle in the desert at sunset",
           "a grey robot with red spots on a stage, neon", "a white teapot with blue stars in the kitchen", "a black mug in the forest",
           "a red car jumping over the mountains", "a yellow boot in the clouds, pencil drawing", "a blue backpack with a crown at the volcano",
           "a pink vase on the farm", "a red cat and a blue dog on the beach", "a green bear with yellow spots next to a pink bunny in the snow",
           "a purple owl wearing a crown and a white duck in the forest at night", "a black car and an orange fox in the city")


class BaseTask:
    name, lr = "base", 1e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, vae: Path, batch_size: int = 32,
                 warm: Path | None = None, compiled: bool = False) -> None:
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
        self.text.to(device).train(), self.unet.to(device).train()
        attention.install(self.unet, training_kernel(device))
        if compiled:
            self.unet.compile()
        self.layout = LayoutHead(self.unet, config.vision.patch_width).to(device)
        self.matrices = inner_matrices("unet", self.unet)
        self.latents = encode_latents(world, device, self.vae)
        self.vloss, self.heroes = VLoss(config, device), Heroes(world, self.latents, device)
        empty = self.tokenizer("", padding="max_length", max_length=self.tokenizer.model_max_length)["input_ids"]
        self.empty = np.asarray(empty, np.int16)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "text": self.text, "layout": self.layout}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        at = self.world.pictures(rng, self.batch_size)
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
        from ..diffusion.conditions import EMPTY, TEXT
        from ..diffusion.attention import AttentionContext

        decoder = LatentDiffusion(self.unet, self.vae, self.config.decoder.scheduler, self.text, self.tokenizer)
        prompts = PROMPTS * 3
        states = decoder.encode_text(prompts)
        context = AttentionContext({TEXT: states, EMPTY: decoder.encode_text([""])})
        drawn = decoder.sample(text_guidance(3.0), context, range(len(prompts)), 20, "dpm++")
        save_image(torch.from_numpy(decoder.decode(drawn.latents)).movedim(-1, 1) / 255, path, nrow=16, pad_value=1)
