"""Frozen, validated numbers from which the stock classes are built. Knows no sizes of its own: those are in presets.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError


def _require(ok: bool, sentence: str, remedy: str) -> None:
    if not ok:
        raise ConfigError(sentence, remedy)


@dataclass(frozen=True)
class VisionConfig:
    """E(x) and F(w) of CAFE."""

    dino: Mapping[str, Any]  # transformers.Dinov2Config
    dino_mean: tuple[float, float, float]  # pixel normalisation of E's input
    dino_std: tuple[float, float, float]
    clip: str | Mapping[str, Any]  # a name of open_clip's registry, or its model_cfg
    semantic_norm: float | None  # F(w) and H(s) are scaled to this norm; None: as the encoder gives them
    dino_side: int | None = None  # pixels that E reads; None: those its positions were learned at
    ood: bool = False  # whether it is told from E and F that a picture is of no kind they know
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what is read from E and F: each attribute of a plan, and what it can be; none: nothing is
    worn_things: tuple[str, ...] = ()  # what a subject can wear
    worn_colours: tuple[str, ...] = ()
    margin: float = 2.0  # CLIP logits by which a text without a thing must fit a picture better for the thing to be missing in it

    def __post_init__(self) -> None:
        side, patch = self.side, self.dino["patch_size"]
        _require(side % patch == 0, f"The picture side {side} is not a multiple of the patch side {patch}.",
                 "Choose a side that the patch divides.")

    @property
    def side(self) -> int:
        """Side of E's input, pixels."""
        return self.dino_side or self.dino["image_size"]

    @property
    def patch_tokens(self) -> int:
        """Tokens of E(x), the class token first."""
        return (self.side // self.dino["patch_size"]) ** 2 + 1

    @property
    def patch_width(self) -> int:
        return self.dino["hidden_size"]


@dataclass(frozen=True)
class LanguageConfig:
    """M with its two fully connected layers V and H and its learnable token."""

    llama: Mapping[str, Any]  # transformers.LlamaConfig
    semantic_width: int  # d_F, H's output
    semantic_hidden: int = 0  # width of a hidden layer in H; 0, as in the paper: H is one fully connected layer
    user_prefix: str = "[INST] "  # around each user message; Llama-2's chat template
    user_suffix: str = " [/INST] "
    draw_token: str | None = None  # a reply that ends with it comes with a picture; None: every reply to a picture does
    plan_marks: tuple[str, ...] = ()  # tokens before and behind a plan's line, which a reply begins with; none: it writes no plan
    plan_turns: int = 4  # turns, the present one too, that a model which plans reads; what stood before them is said in a line
    worn_apart: tuple[tuple[str, ...], ...] = ()  # things of which a subject wears one at a time
    worn_most: int = 8  # things that it wears at once
    lowercase_user: bool = False  # read the user's words in lower case
    max_new_tokens: int = 256
    context: int = 2048  # tokens kept of a conversation, the picture's included
    picture_side: int | None = None  # M reads E's patches averaged to a grid of this side; None, as in the paper: all of them


@dataclass(frozen=True)
class ClipVisionConfig:
    """One CLIP image encoder, whose patch features stand for E(x) and whose global embedding is F(w)."""

    clip: Mapping[str, Any]  # transformers.CLIPVisionConfig; its projection_dim is d_F
    segmentation: Mapping[str, Any] | None = None  # transformers.CLIPSegConfig, of what cuts subjects out before E sees them; None: nothing does

    @property
    def patch_tokens(self) -> int:
        """Tokens of E(x), the class token first."""
        return (self.clip["image_size"] // self.clip["patch_size"]) ** 2 + 1

    @property
    def patch_width(self) -> int:
        return self.clip["hidden_size"]


@dataclass(frozen=True)
class LikenessConfig:
    """A DINOv2 that only tells how alike two pictures are."""

    dino: Mapping[str, Any]  # transformers.Dinov2Config
    side: int = 224  # pixels that it reads
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FlowConfig:
    """An open model that edits pictures by words (FLUX.2 klein). It draws the chat and the boards; the base model beside it draws concepts."""

    named: str  # as people call it
    beside: str  # the base model, as people call it
    transformer: Mapping[str, Any]  # diffusers.Flux2Transformer2DModel
    vae: Mapping[str, Any]  # diffusers.AutoencoderKLFlux2
    text: Mapping[str, Any]  # transformers.Qwen3Config: the text encoder
    image_size: int  # pixels
    references: int  # pictures that it takes at once
    steps: int = 4  # usually: it was distilled for so many
    quick: int = 2
    fine: int = 8
    folder: str = "flux"  # in the preset's: a Flux2KleinPipeline

    def __post_init__(self) -> None:
        side = 2 ** len(self.vae["block_out_channels"])
        _require(self.image_size % side == 0, f"{self.image_size} px is no multiple of {side}.", "Choose a side that the autoencoder and its 2 x 2 patches divide.")
        _require(self.transformer["in_channels"] == 4 * self.vae["latent_channels"],
                 f"The transformer takes {self.transformer['in_channels']} channels, 2 x 2 latents have {4 * self.vae['latent_channels']}.", "Make the two equal.")
        _require(self.transformer["joint_attention_dim"] == 3 * self.text["hidden_size"],
                 f"The transformer reads text states of {self.transformer['joint_attention_dim']}, three of the text encoder's layers have {3 * self.text['hidden_size']}.",
                 "Make the two equal.")

    @property
    def encoder(self) -> str:
        """The text encoder's folder."""
        return f"{self.folder}/text_encoder"


@dataclass(frozen=True)
class ChatConfig:
    """Any language model with a chat template, one that sees or one that does not, which writes the explanation and the prompt; its sizes are its
    folder's business."""

    folder: str = "llm"  # in the preset's, or anywhere
    named: str = ""  # as it was asked for; empty: the preset's own
    max_new_tokens: int = 200
    context: int = 4096  # tokens kept of a conversation, the rules, examples and pictures included
    picture_side: int = 768  # pixels of a picture's longer side that a model which sees reads: 576 tokens of Qwen3-VL's 32 x 32

    def __post_init__(self) -> None:
        _require(0 < self.max_new_tokens < self.context, f"A reply of {self.max_new_tokens} tokens does not fit a context of {self.context}.",
                 "Make the context longer.")


@dataclass(frozen=True)
class AdapterConfig:
    """One published IP-Adapter (control/ip_adapter.py)."""

    file: str  # in the preset's folder "adapters"
    plus: bool  # reads patch features, for E(x); else the global embedding, for F(w)
    tokens: int  # image tokens
    unit: float  # scale in attention, for each unit of what steers it: a request's `keep_subject`, or how much F(w) counts
    most: float = 1.2  # scale beyond which pictures break
    hidden: int = 768  # width of a plus adapter's resampler
    depth: int = 4  # and its layers


@dataclass(frozen=True)
class AdaptersConfig:
    """What draws in CAFE's place where nothing was trained for it: two adapters on the base model, and what every prompt is told."""

    subject: AdapterConfig  # E(x)
    semantics: AdapterConfig  # F(w)
    praise: str = ""  # ends every prompt; alone where there are no words
    negative: str = ""  # what the unconditional row reads

    def __post_init__(self) -> None:
        _require(self.subject.plus and not self.semantics.plus, "The subject's adapter reads patch features, the other the global embedding.",
                 "Name a plus adapter for the subject, and a plain one for the semantics.")


@dataclass(frozen=True)
class DecoderConfig:
    """G, and the base text-to-image model it starts from."""

    unet: Mapping[str, Any]  # diffusers.UNet2DConditionModel, without cross_attention_dim
    vae: Mapping[str, Any]  # diffusers.AutoencoderKL
    text: Mapping[str, Any]  # transformers.CLIPTextConfig of the base model
    scheduler: Mapping[str, Any]  # diffusers.DDIMScheduler; the others are made from the same numbers
    image_size: int
    text_2: Mapping[str, Any] | None = None  # transformers.CLIPTextConfig of SDXL's second text encoder, whose states stand beside the first's
    joint: bool = False  # CAFE draws with the base model's UNet: E(x) passes the keys and values that text states pass; only V_H is its own
    caption_share: float = 0.0  # of `follow_words`, with which a joint UNet follows the plan's words beside H(s); 0: H(s) alone, as in the paper
    alpha: float = 0.5  # of a new mixing board
    swap_subject: bool = False  # a mixing board's references bring their place and look, with x's subject in place of their own; False: eq. 4 as it is
    guided: float = 1.0  # share of the steps that CAFE's guidance acts in; behind it the subject and the wish are one row alone
    guided_every: int = 1  # of the guided steps of CAFE, Infusion and DCI, those that compute all rows; between them the guidance of the last one goes on
    steps: int = 20  # of denoising, usually
    sampler: str = "dpm++"  # usually, one of requests.SCHEDULERS
    quick: tuple[str, int] = ("dpm++", 10)  # a sampler and its steps for a first look; of models that were not distilled for fewer
    fine: tuple[str, int] = ("dpm++", 40)  # and for a last one
    guidance: float = 3.0  # of the base model alone, usually
    keep_subject: float = 2.0  # guidance strength of E(x), usually
    follow_words: float = 2.0  # and of H(s) or F(w)
    guidance_unit: float = 1.0  # of the base model, for each unit of a request's `follow_words`, which was made for CAFE's smaller strengths
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # way of learning a concept -> what is usual on this base model
    together: float = 1.0  # how strongly each residual of Infusion acts where a prompt holds several concepts
    dci_window: float = 0.15  # T_a / T, the paper's share of the steps in which DCI's auxiliary branch acts; the authors' code takes 0.3
    dci_gain: float = 500.0  # of eq. 4, see controls: the authors'
    recompute: bool = False  # where gradients flow, activations are made again rather than kept: slower, in less than half the memory
    latents_rgb: tuple[tuple[float, float, float], ...] = ()  # rough colours of each scaled latent channel, -1..1, for previews; (): the
    # autoencoder's folder holds a map of its own

    @property
    def text_width(self) -> int:
        """d_text, which the base model's cross-attention reads."""
        return self.text["hidden_size"] + (self.text_2["hidden_size"] if self.text_2 is not None else 0)

    def __post_init__(self) -> None:
        down = 2 ** (len(self.vae["block_out_channels"]) - 1)
        _require(self.image_size == down * self.unet["sample_size"],
                 f"{self.image_size} px over {down} is not the UNet's sample size {self.unet['sample_size']}.",
                 "Make image_size = sample_size x the autoencoder's reduction.")
        _require(self.unet["in_channels"] == self.vae["latent_channels"],
                 f"The UNet takes {self.unet['in_channels']} channels, the autoencoder gives {self.vae['latent_channels']}.",
                 "Make the two equal.")


@dataclass(frozen=True)
class Source:
    """Where one part of a preset is published. Its files come to FOLDER/part/, without `root`."""

    hubs: tuple[str, ...]  # repositories of the Hugging Face hub, the original first, then mirrors of the same files
    files: tuple[str, ...]  # what is needed of it, as patterns below `root`
    gib: float  # of those files, about
    root: str = ""  # the repository's folder that becomes the part
    revision: str | None = None  # commit, where one is known; tried at every hub, else its newest
    licence: str = ""  # where it must be accepted before the original gives anything out

    def __post_init__(self) -> None:
        _require(bool(self.hubs and self.files), "A source needs a hub and files.", "Name at least one of each.")
        unsafe = [p for p in self.files if p.endswith((".bin", ".pt", ".ckpt", ".pth", ".pkl")) or p.endswith("*")]
        _require(not unsafe, f"The patterns {unsafe} could fetch pickled weights.", "Name .safetensors files.")


@dataclass(frozen=True)
class AssistantConfig:
    """Everything one preset is. One without vision and language draws from words and learned concepts alone; one with adapters, as CAFE
    does, but by published weights."""

    name: str
    vision: VisionConfig | ClipVisionConfig | LikenessConfig | None
    language: LanguageConfig | ChatConfig | None
    decoder: DecoderConfig
    notice: str  # the page's one sentence about this size of model
    adapters: AdaptersConfig | None = None  # with a ClipVisionConfig: what draws where CAFE's own layers are not trained
    flow: FlowConfig | None = None  # with a LikenessConfig: what draws in place of the decoder, which then draws learned concepts alone
    nouns: tuple[str, ...] = ()  # the kinds of things that the base model knows, if they can be counted: what a concept's class noun may be
    folder: str = ""  # under checkpoints/, when the weights ship with the code
    sources: Mapping[str, Source] = field(default_factory=dict)  # part -> where it is published, when they do not
    trained: Mapping[str, str] = field(default_factory=dict)  # part that nobody published -> the command that trains it
    lcm: Source | None = None  # LCM-LoRA of its base model, for a quick pace of few steps (presets.with_lcm)
    safety: Source | None = None  # of what checks its pictures, where other people may reach the page (presets.with_safety)

    @property
    def encoders(self) -> VisionConfig:
        """CAFE's E and F. Raises ConfigError: this preset has them not."""
        if not isinstance(self.vision, VisionConfig):
            raise ConfigError(f"The preset {self.name!r} has none of CAFE's encoders.", "Choose full or miniature.")
        return self.vision

    @property
    def mllm(self) -> LanguageConfig:
        """CAFE's M. Raises ConfigError: this preset has it not."""
        if not isinstance(self.language, LanguageConfig):
            raise ConfigError(f"The preset {self.name!r} has no language model of CAFE's.", "Choose full or miniature.")
        return self.language

    @property
    def keep_subject_most(self) -> float:
        """A request's `keep_subject` from which more of it changes nothing."""
        return 10.0 if self.adapters is None else self.adapters.subject.most / self.adapters.subject.unit

    @property
    def picture_tokens(self) -> int:
        """Tokens that a picture takes in M's input, the class token's included."""
        if not isinstance(self.language, LanguageConfig) or not isinstance(self.vision, (VisionConfig, ClipVisionConfig)):
            return 0
        return self.vision.patch_tokens if self.language.picture_side is None else self.language.picture_side**2 + 1

    def __post_init__(self) -> None:
        _require((self.vision is None) == (self.language is None), "There is a vision model without a language model, or the other way round.", "Give both or neither.")
        _require(isinstance(self.vision, ClipVisionConfig) == (self.adapters is not None), "There are adapters without the CLIP image encoder that they read, or the other way round.",
                 "Give both or neither.")
        _require(isinstance(self.vision, LikenessConfig) == (self.flow is not None), "There is a model that edits pictures without one that tells them apart, or the other way round.", "Give both or neither.")
        if not isinstance(self.vision, VisionConfig) or not isinstance(self.language, LanguageConfig):
            return
        clip = self.vision.clip
        width = clip["embed_dim"] if isinstance(clip, Mapping) else self.language.semantic_width
        _require(width == self.language.semantic_width,
                 f"F has width {width}, H gives {self.language.semantic_width}.", "Make the two equal.")
        text = self.decoder.text["hidden_size"]
        _require(not self.decoder.joint or self.vision.patch_width == text,
                 f"E has width {self.vision.patch_width}, text states have {text}: one UNet cannot attend to both.", "Make the two equal.")
