"""What a learned concept is asked in an evaluation, how the base model and Infusion draw it, and what Infusion is compared with.

Each baseline is a few lines on diffusers and peft: the same pictures, the same loss, other parameters. It says which parameters of a copy of the base model learn.
Where a method's paper preserves the prior, it goes on learning pictures of the class noun that the base model drew itself (Ruiz et al., 2023).
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..controls.infusion import ConceptInstance, Infusion, residual_mask
from ..customization.concept_prompt import residual_positions, token_positions, write
from ..customization.concept_training import ConceptImages, lines
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import CONDITIONAL, EMPTY, TEXT, BatchRow, infusion_guidance, text_guidance
from ..diffusion.latent_diffusion import LatentDiffusion
from ..errors import ConfigError
from ..plan import a_or_an
from ..presets import MINIATURE
from ..world.vocabulary import bank

GUIDANCE, STEPS = MINIATURE.decoder.guidance, MINIATURE.decoder.steps
PROMPTS = bank("prompts")["infusion"]
LINES = tuple(line for lines in PROMPTS.values() for line in lines)


def said(line: str, phrase: str) -> str:
    """A line of PROMPTS with words, or a <name>, in it."""
    return line.format(f"{a_or_an(phrase.strip('<>'))} {phrase}")


def draw_plain(model: LatentDiffusion, lines: Sequence[str], seeds: Sequence[int], steps: int = STEPS, guidance: float = GUIDANCE) -> Tensor:
    """Latents (len(lines), C, h, w) of lines as the base model, or a baseline's copy of it, reads them."""
    context = AttentionContext({TEXT: model.encode_text(list(lines)), EMPTY: model.encode_text([""])})
    with torch.no_grad():
        return model.sample(text_guidance(guidance), context, seeds, steps).latents


def draw_concepts(base: LatentDiffusion, lines: Sequence[str], nouns: Mapping[str, str], learned: Mapping[str, Mapping[str, Tensor]],
                  seeds: Sequence[int], steps: int = STEPS, strength: float = 1.0) -> Tensor:
    """The same with Infusion's two streams; lines hold <name>s.

    Args:
        nouns: name -> class noun. learned: name -> residuals, which act with `strength`.
    """
    written = [write(line, nouns) for line in lines]
    states = base.encode_text([w.text for w in written])
    uses = []
    for name, residuals in learned.items():
        count, length = next(iter(residuals.values())).shape[0], states.shape[1]
        at = [residual_positions(token_positions(base.tokenizer, w.text, w.spans[name]), count, length) if name in w.spans else [()] * count for w in written]
        uses.append(ConceptInstance(residuals, torch.cat([residual_mask(positions, length, strength) for positions in at])))
    context = AttentionContext({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses),))
    with torch.no_grad():
        return base.sample(infusion_guidance(GUIDANCE, base.guided_every), context, seeds, steps).latents


RARE = "sks"  # DreamBooth's identifier: a word that means nothing to the base model
TOKEN = "<new>"  # a token of its own, for methods that learn one
PRIOR_PICTURES = 15  # of the class noun, drawn by the base model
RANK = 4  # of LoRA


class Baseline:
    """One concept, learned one step at a time.

    Args:
        base: what is copied. shown: its pictures. noun: the class noun.
        lr: None takes the method's own on the miniature. guidance: of the pictures that preserve the prior.
    """

    name = ""
    lr = 1e-3
    published = (1e-3, 500)  # rate and steps on Stable Diffusion, as its paper or its authors' code has them, for this batch
    prior = 1.0  # weight of the pictures of the class noun; 0: the method's paper has no such term

    def __init__(self, base: LatentDiffusion, shown: ConceptImages, noun: str, lr: float | None = None, batch: int = 4, seed: int = 0,
                 guidance: float = GUIDANCE) -> None:
        if base.text_encoder_2 is not None:
            raise ConfigError("The baselines learn through one text encoder, and SDXL has two.", "Measure them on the preset open.")
        self.shown, self.noun, self.batch, self.seed, self.step_count = shown, noun, batch, seed, 0
        unet, text = copy.deepcopy(base.unet).float(), copy.deepcopy(base.text_encoder).float()
        self.model = LatentDiffusion(unet.requires_grad_(False), base.vae, base.scheduler_config, text.requires_grad_(False), copy.deepcopy(base.tokenizer),
                               preview=base.preview)
        self.phrase = f"{RARE} {noun}"
        with torch.random.fork_rng(devices=[]):  # what a library draws for fresh parameters
            torch.manual_seed(seed)
            self.parameters = [p.requires_grad_() for p in self.learned()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.lr if lr is None else lr, weight_decay=0.0)
        self.prompts, self.others = lines(self.phrase), lines(noun)
        if self.prior:
            known = [self.others[k % len(self.others)] for k in range(PRIOR_PICTURES)]
            self.known = ConceptImages(base, draw_plain(base, known, range(PRIOR_PICTURES), guidance=guidance))

    def learned(self) -> Sequence[nn.Parameter]:
        """The parameters that learn; fresh ones are made here."""
        raise NotImplementedError

    def step(self) -> float:
        """One step of eq. 8 on the model's own words; returns its loss."""
        g = torch.Generator("cpu").manual_seed(self.seed * 1_000_003 + self.step_count)
        at, said = (torch.randint(count, (self.batch,), generator=g) for count in (len(self.shown.latents), len(self.prompts)))
        loss = self._loss(self.shown, at, [self.prompts[k] for k in said.tolist()], g)
        if self.prior:
            at = torch.randint(PRIOR_PICTURES, (self.batch,), generator=g)
            loss = loss + self.prior * self._loss(self.known, at, [self.others[k % len(self.others)] for k in at.tolist()], g)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step_count += 1
        return float(loss.detach())

    def _loss(self, shown: ConceptImages, at: Tensor, prompts: Sequence[str], g: torch.Generator) -> Tensor:
        context = AttentionContext({TEXT: self.states(prompts)}, cache=False).begin((BatchRow(CONDITIONAL, TEXT),), len(prompts))
        return shown.unet_loss(lambda x, t: self.model.unet(x, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0], at, g)

    def states(self, prompts: Sequence[str]) -> Tensor:
        """`LatentDiffusion.encode_text` with gradients."""
        length = self.model.tokenizer.model_max_length
        ids = self.model.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        return self.model.text_encoder(ids.to(self.model.device))[0]

    def storage(self) -> int:
        """Bytes of a concept in half precision."""
        return 2 * sum(p.numel() for p in self.parameters)

    def new_token(self) -> nn.Parameter:
        """The token embeddings with one more row, TOKEN's, that starts as the class noun's; only that row will change."""
        tokenizer, text = self.model.tokenizer, self.model.text_encoder
        noun = tokenizer(self.noun, add_special_tokens=False)["input_ids"]
        tokenizer.add_tokens(TOKEN)
        text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = text.get_input_embeddings().weight
        with torch.no_grad():
            table[-1] = table[noun].mean(0)
        table.requires_grad_().register_hook(lambda grad: torch.cat([torch.zeros_like(grad[:-1]), grad[-1:]]))
        return table


class TextualInversion(Baseline):
    """One new token's embedding, and nothing else (Gal et al., 2022)."""

    name, lr, prior = "Textual Inversion", 0.01, 0.0
    published = (5e-3, 3000)

    def learned(self) -> Sequence[nn.Parameter]:
        self.phrase = TOKEN
        return [self.new_token()]

    def storage(self) -> int:
        return 2 * self.parameters[0].shape[1]


class DreamBooth(Baseline):
    """Every weight of UNet and text encoder, under a rare word, the prior preserved (Ruiz et al., 2023)."""

    name, lr = "DreamBooth", 1e-4
    published = (5e-6, 800)

    def learned(self) -> Sequence[nn.Parameter]:
        return [p for module in (self.model.unet, self.model.text_encoder) for p in module.parameters()]


class DreamBoothLora(Baseline):
    """DreamBooth's words, with low-rank updates (Hu et al., 2021) of every attention layer by peft."""

    name, lr = "DreamBooth-LoRA", 1e-3
    published = (1e-4, 500)

    def learned(self) -> Sequence[nn.Parameter]:
        """Raises ConfigError without peft."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ConfigError("DreamBooth-LoRA needs peft, which is not installed.", "Run: pip install -r tests/requirements.txt") from error
        targets = {self.model.unet: ["to_q", "to_k", "to_v", "to_out.0"], self.model.text_encoder: ["q_proj", "v_proj"]}
        for module, names in targets.items():
            inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names), module)
        return [p for module in targets for n, p in module.named_parameters() if "lora_" in n]


class CustomDiffusion(Baseline):
    """Keys and values of every cross-attention layer, and a new token before the class noun (Kumari et al., 2023)."""

    name, lr = "Custom Diffusion", 3e-4
    published = (4e-5, 500)  # 1e-5 for each picture of a batch

    def learned(self) -> Sequence[nn.Parameter]:
        self.phrase = f"{TOKEN} {self.noun}"
        layers = self.model.cross_layers().values()
        return [p for attn in layers for p in (attn.to_k.weight, attn.to_v.weight)] + [self.new_token()]

    def storage(self) -> int:
        return 2 * (sum(p.numel() for p in self.parameters[:-1]) + self.parameters[-1].shape[1])


BASELINES: tuple[type[Baseline], ...] = (TextualInversion, DreamBooth, DreamBoothLora, CustomDiffusion)
