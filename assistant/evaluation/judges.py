"""Who measures DreamBench: the papers' judges, DINO ViT-S/16 and CLIP ViT-B/32, from a folder, or a preset's own E and F."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from ..checkpoints import load_tensors, reading
from ..data.quadruplets import Embedder, OwnEmbedder
from ..engine import Assistant
from ..errors import ConfigError
from ..models.vision_encoders import VisionEncoders
from ..training.world_dataset import caption_tokenizer


class PublishedEmbedder:
    """DINO ViT-S/16's class token and CLIP ViT-B/32, the judges of the papers: see `data.quadruplets.Embedder`.

    Args:
        folder: of `dino` (timm's vit_small_patch16_224.dino: config.json, model.safetensors) and `clip` (timm's vit_base_patch32_clip_224.openai:
            open_clip_config.json, open_clip_model.safetensors).

    Raises:
        ConfigError: a file is missing. WeightsError: it cannot be read.
    """

    about = "DINO ViT-S/16, CLIP ViT-B/32"

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        import open_clip
        import timm

        wanted = {"dino": ("config.json", "model.safetensors"), "clip": ("open_clip_config.json", "open_clip_model.safetensors")}
        missing = [f"{part}/{file}" for part, files in wanted.items() for file in files if not (folder / part / file).exists()]
        if missing:
            raise ConfigError(f"The judges in {folder} are not complete: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
                              "Put the files of timm/vit_small_patch16_224.dino into dino, and of timm/vit_base_patch32_clip_224.openai into clip.")
        with reading("judges"):
            self.dino = timm.create_model(f"local-dir:{folder / 'dino'}", pretrained=False, num_classes=0)
            self.clip = open_clip.create_model(f"local-dir:{folder / 'clip'}", require_pretrained=True)
            self.tokens = open_clip.get_tokenizer(f"local-dir:{folder / 'clip'}")
        load_tensors(folder / "dino/model.safetensors", self.dino)
        self.device = torch.device(device)
        for model in (self.dino, self.clip):
            model.eval().requires_grad_(False).to(self.device)
        about = self.dino.pretrained_cfg
        self._dino = (about["input_size"][-1], round(about["input_size"][-1] * 256 / 224), about["mean"], about["std"])  # the authors' own preprocessing
        side = self.clip.visual.image_size
        side = side[0] if isinstance(side, tuple | list) else side
        self._clip = (side, side, self.clip.visual.image_mean, self.clip.visual.image_std)

    def _seen(self, model: nn.Module, x: Tensor, side: int, short: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """The short side resized, the middle cut out, normalised: (B, 3, H, W) in [0, 1] -> unit vectors (B, d)."""
        x = v2.functional.resize(x.to(self.device), [short], v2.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
        x = v2.functional.center_crop(x, [side, side])
        return F.normalize(model((x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)).float(), dim=-1)

    @torch.no_grad()
    def individual(self, x: Tensor) -> Tensor:
        return self._seen(self.dino, x, *self._dino)

    @torch.no_grad()
    def picture(self, x: Tensor) -> Tensor:
        return self._seen(self.clip.encode_image, x, *self._clip)

    @torch.no_grad()
    def caption(self, lines: list[str]) -> Tensor:
        return F.normalize(self.clip.encode_text(self.tokens(lines).to(self.device)).float(), dim=-1)


def judges(assistant: Assistant, folder: Path | None) -> tuple[Embedder, str]:
    """Who measures, and what is said of them: the papers' own from a folder or, of a preset that ships with the code, its own E and F.

    Raises:
        ConfigError: no folder, and none of its own; or as `PublishedEmbedder`.
    """
    if folder is not None:
        return PublishedEmbedder(folder, assistant.decoder.device), PublishedEmbedder.about
    if not isinstance(assistant.vision, VisionEncoders) or assistant.config.folder is None:
        raise ConfigError(f"The preset {assistant.config.name!r} ships without judges of its own.",
                          "Name a folder with DINO ViT-S/16 and CLIP ViT-B/32: --judges FOLDER.")
    about = f"E and F of the preset {assistant.config.name} itself, not the papers': no number here compares with theirs"
    return OwnEmbedder(assistant.vision, caption_tokenizer(assistant.config)), about
