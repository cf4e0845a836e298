"""How much memory a preset takes, tier by tier, and which tier fits this machine. Nothing is loaded here.

All of it is computed: weights from parameter counts, what lives beside them from one step traced tensor by tensor on the meta device
(tests/memory/test_memory.py traces it again). A GPU's allocator and libraries take more, for which there is an allowance.
"""

from dataclasses import dataclass
from pathlib import Path

from ..checkpoints import numbers_in
from ..model_factory import build, count
from ..config import AssistantConfig, ChatConfig, LanguageConfig
from ..errors import DeviceError
from ..requests import LCM

GIB = 2**30
ALLOWANCE, CONTEXT = 1.15, 0.6 * GIB  # for fragments and workspaces, and for what CUDA itself takes
UNET_LIVE = 29  # numbers alive at once in a UNet's step, for each latent pixel, row and channel of its first block
VAE_LIVE = 6  # in decoding, for each pixel and channel of its first block
MOST_ROWS = 4  # Infusion's
QUANTISED = 4.6 / 8  # bytes a parameter in 4 bits, with scales, and with embeddings left in 16
# Which modules move together, and are needed together; what is not named stays where pictures are made.
GROUPS = {"words": ("llama", "llm", "qwen"), "eyes": ("dino", "clip", "image_encoder", "clipseg"), "cafe": ("cafe", "transformer"), "base": ("unet",)}
FLOW_LIVE = 18  # numbers alive at once in a flow-matching transformer's block, for each token and unit of its width: what is fused into one matrix, twice
FLOW_TEXT = 512  # tokens of a prompt


@dataclass(frozen=True)
class Tier:
    """One way of fitting a preset onto a GPU."""

    name: str
    said: str  # to people, after "from now on"
    quantised: bool = False  # the language model in 4 bits; it then stays
    turns: bool = False  # groups take turns on the GPU, and wait in the computer's memory
    layers: bool = False  # every layer is brought when it is its turn
    tiled: bool = False  # the autoencoder works tile by tile, one picture at a time
    halved: bool = False  # without a GPU: numbers of 16 bits (bfloat16) rather than 32


TIERS = (
    Tier("whole", "everything stays on the GPU"),
    Tier("4bit", "the language model is held in 4 bits", quantised=True),
    Tier("turns", "the language model and the decoder take turns on the GPU, which is slower", turns=True, tiled=True),
    Tier("4bit-turns", "the language model is held in 4 bits and the other models take turns", quantised=True, turns=True, tiled=True),
    Tier("layers", "every layer is brought to the GPU when it is needed, which is much slower", layers=True, tiled=True))

# Without a GPU, where nothing can wait elsewhere.
HOST_TIERS = (
    TIERS[0],
    Tier("halved", "numbers are held in 16 bits (bfloat16), which is slower on most CPUs and a little less exact", halved=True),
    Tier("halved-tiled", "numbers are held in 16 bits (bfloat16) and pictures are decoded in tiles, which is slower", halved=True, tiled=True))


def tier(name: str) -> Tier:
    """Raises DeviceError: there is none of that name."""
    found = next((t for t in TIERS if t.name == name), None)
    if found is None:
        raise DeviceError(f"There is no memory tier {name!r}.", f"Choose auto, {', '.join(t.name for t in TIERS)}.")
    return found


@dataclass(frozen=True)
class Need:
    """Bytes that a preset takes in one tier, computed."""

    device: int
    host: int  # of the computer's memory, beside


_counted: dict[str, dict[str, int]] = {}  # what a preset's own modules hold, by its configuration


def sizes(config: AssistantConfig, folder: Path | None = None) -> dict[str, int]:
    """Parameters of every part. A chat model that only its folder describes counts as what its files hold, in the preset's `folder` or elsewhere;
    while they are not there, as what is to be downloaded, in 16 bits."""
    key = repr(config)
    if key not in _counted:  # building one on the device "meta" takes up to a second
        _counted[key] = {name: count(module) for name, module in build(config).items()}
    found = dict(_counted[key])
    if isinstance(config.language, ChatConfig) and (config.flow is None or config.language.folder != config.flow.encoder):
        found["llm"] = _chat(config, folder)[0]
    if LCM in config.sources:
        found[LCM] = int(config.sources[LCM].gib * GIB / 2)
    return found


def _chat(config: AssistantConfig, folder: Path | None) -> tuple[int, int]:
    """Numbers of a chat model and of the largest matrix in it, about a seventh of a small one."""
    assert isinstance(config.language, ChatConfig)
    part = config.language.folder
    held = numbers_in((folder or Path()) / part) if folder is not None or Path(part).is_absolute() else (0, 0)
    to_come = int(config.sources[part].gib * GIB / 2) if part in config.sources else 0
    return held if held[0] else (to_come, to_come // 7)


class Budget:
    """What one preset takes.

    Args:
        width: bytes of a number: 2 in half precision, 4 in single. The autoencoder is always held in single precision.
        folder: of the preset's weights, where they are there.
    """

    def __init__(self, config: AssistantConfig, width: int, folder: Path | None = None) -> None:
        self.config, self.width, self.folder, self.numbers = config, width, folder, sizes(config, folder)
        self.speaks = bool(self.numbers.keys() & set(GROUPS["words"]))

    def need(self, tier: Tier) -> Need:
        """Bytes that a tier takes at its peak."""
        weights = {name: n * (4 if name in ("vae", "flow_vae") else self.width) for name, n in self.numbers.items()}
        groups = {group: sum(weights.pop(part, 0) for part in parts) for group, parts in GROUPS.items()}
        if tier.quantised:
            groups["words"] = int(groups["words"] / self.width * QUANTISED)
        d, side = self.config.decoder, self.config.decoder.unet["sample_size"]
        vae = VAE_LIVE * d.image_size**2 * d.vae["block_out_channels"][0] * 4 // (4 if tier.tiled else 1)
        drawing = max(UNET_LIVE * MOST_ROWS * side**2 * d.unet["block_out_channels"][0] * self.width, vae)
        work = {"words": self._cache(), "eyes": 0, "cafe": drawing if self.config.flow is None else self._flow(tier), "base": drawing}
        waits = {group: size for group, size in groups.items() if not (tier.quantised and group == "words")}
        if tier.layers:
            on_it = max(work.values()) + 2 * max(self._matrix(), GIB // 8)
        elif tier.turns:
            on_it = max(waits[group] + work[group] for group in waits) + (groups["words"] if tier.quantised else 0)
        else:
            on_it = sum(groups.values()) + max(work.values())
        host = sum(waits.values()) if tier.turns or tier.layers else max(waits.values())  # a part passes through it when it is loaded
        return Need(int((sum(weights.values()) + on_it) * ALLOWANCE + CONTEXT), int(host * 1.05 + GIB))

    def _flow(self, tier: Tier) -> int:
        """A step of a decoder that edits pictures, with all the references it takes, or its decoding."""
        about = self.config.flow
        if about is None:
            return 0
        tokens = FLOW_TEXT + (1 + about.references) * (about.image_size // 2 ** len(about.vae["block_out_channels"])) ** 2
        width = about.transformer["num_attention_heads"] * about.transformer["attention_head_dim"]
        decoding = VAE_LIVE * about.image_size**2 * about.vae["block_out_channels"][0] * 4 // (4 if tier.tiled else 1)
        return max(FLOW_LIVE * tokens * width * self.width, decoding)

    def choose(self, wanted: str, free: int, host: int, can_quantise: bool) -> Tier:
        """The first tier that fits, or the one that is wanted.

        Args:
            wanted: "auto" or a tier's name. free, host: bytes of the GPU's and the computer's memory that are free.
            can_quantise: whether bitsandbytes is here.

        Raises:
            DeviceError: none fits; or a tier was named that this machine or this preset does not have.
        """
        quantises = can_quantise and self.speaks
        if wanted != "auto":
            chosen = tier(wanted)
            if chosen.quantised and not quantises:
                raise DeviceError(f"The tier {wanted!r} needs {'the package bitsandbytes' if self.speaks else 'a preset with a language model'}.",
                                  "Run: pip install bitsandbytes" if self.speaks else "Leave --memory at auto.")
            return chosen
        for one in TIERS:
            takes = self.need(one)
            if (quantises or not one.quantised) and takes.device <= free and takes.host <= host:
                return one
        least = self.need(TIERS[-1])
        raise DeviceError(f"The preset {self.config.name!r} takes at least {least.device / GIB:.1f} GiB of GPU memory with "
                          f"{least.host / GIB:.1f} GiB beside it; {free / GIB:.1f} GiB and {host / GIB:.1f} GiB are free.",
                          "Close other programs, or choose a smaller preset: sd15.")

    def choose_host(self, host: int, may_halve: bool = True) -> Tier:
        """Where there is no GPU: the first of HOST_TIERS that fits.

        Args:
            host: bytes of the computer's memory that are free. may_halve: whether numbers of 16 bits may be taken; not where others were asked for.

        Raises:
            DeviceError: none fits.
        """
        takes = {one: (Budget(self.config, 2, self.folder) if one.halved else self).need(one).device for one in HOST_TIERS if may_halve or not one.halved}
        for one, size in takes.items():
            if size <= host:
                return one
        raise DeviceError(f"The preset {self.config.name!r} takes at least {min(takes.values()) / GIB:.1f} GiB of memory without a GPU; "
                          f"{host / GIB:.1f} GiB are free.", "Close other programs, or choose a smaller preset: miniature, sd15.")

    def _cache(self) -> int:
        """Keys and values of the longest conversation."""
        language = self.config.language
        if not isinstance(language, LanguageConfig):
            return GIB // 2 if language is not None else 0
        llama = language.llama
        per_head = llama["hidden_size"] // llama["num_attention_heads"]
        return 2 * llama["num_hidden_layers"] * llama["num_key_value_heads"] * per_head * language.context * self.width

    def _matrix(self) -> int:
        """The largest single matrix, about: the table of words."""
        if self.config.flow is not None:
            return self.config.flow.text["vocab_size"] * self.config.flow.text["hidden_size"] * self.width
        language = self.config.language
        if isinstance(language, LanguageConfig):
            return language.llama["vocab_size"] * language.llama["hidden_size"] * self.width
        return _chat(self.config, self.folder)[1] * self.width if language is not None else 0


def next_tier(now: Tier) -> Tier | None:
    """What a running engine can change to when memory runs out: nothing is quantised or loaded anew. None: nothing is left."""
    if now not in TIERS:
        return None
    after = TIERS[TIERS.index(now) + 1:]
    return next((t for t in after if t.quantised == now.quantised or (now.quantised and t.layers)), None)


def lower_tier(now: Tier, can_quantise: bool) -> Tier | None:
    """What a preset that is loaded anew can change to. None: nothing is left."""
    return next((t for t in TIERS[TIERS.index(now) + 1:] if can_quantise or not t.quantised), None)
