"""What Infusion is compared with, each a few lines on diffusers and peft: the same pictures, the same loss, other parameters."""

from .baseline import Baseline
from .custom_diffusion import CustomDiffusion
from .dreambooth import DreamBooth
from .lora import DreamBoothLora
from .textual_inversion import TextualInversion

BASELINES: tuple[type[Baseline], ...] = (TextualInversion, DreamBooth, DreamBoothLora, CustomDiffusion)
