"""What the decoder is conditioned on, as tensors; it knows nothing of how they were made or where they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from assistant.errors import ConfigError

# Names of the sources, as rows of the decoder's batch refer to them.
TEXT = "text"  # text encoder's states of the prompt
EMPTY = "empty"  # text encoder's states of the empty (or negative) prompt
AUXILIARY_TEXT = "auxiliary text"  # the same of DCI's auxiliary prompt
PATCHES = "patches"  # E(x)
SEMANTICS = "semantics"  # F(w) or H(s)


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Conditions of one image (b = 1) or of b images drawn together, one each.

    Raises:
        ConfigError: a shape other than the ones stated here, or sources that disagree about b.
    """

    text: torch.Tensor | None = None  # (b, N, d_text) states of the text encoder
    patches: torch.Tensor | None = None  # (b, 257, d_E) E(x): class token, then patches; None: no subject
    semantics: torch.Tensor | None = None  # (b, d_F) F(w) or H(s); None: no wish
    spans: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # word -> its token positions in `text`

    def __post_init__(self) -> None:
        sizes = set()
        for name, ranks in (("text", 3), ("patches", 3), ("semantics", 2)):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            if tensor.ndim != ranks or 0 in tensor.shape:
                wanted = "(b, tokens, width)" if ranks == 3 else "(b, width)"
                raise ConfigError(
                    f"The condition '{name}' has shape {tuple(tensor.shape)}, not {wanted}.", "Add the batch dimension."
                )
            sizes.add(tensor.shape[0])
        if len(sizes) > 1:
            raise ConfigError(f"The conditions disagree about the number of images: {sorted(sizes)}.")
        self._check_spans()

    def _check_spans(self) -> None:
        length = 0 if self.text is None else self.text.shape[1]
        for word, positions in self.spans.items():
            outside = [p for p in positions if not 0 <= p < length]
            if outside or not positions:
                raise ConfigError(f"The span of '{word}' is {positions}, but the text has {length} tokens.")

    def tokens(self) -> dict[str, torch.Tensor]:
        """The sources that are attended to, by name: TEXT and PATCHES, as far as there are any. (b, N, d) each."""
        found = {TEXT: self.text, PATCHES: self.patches}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def vectors(self) -> dict[str, torch.Tensor]:
        """The sources of one vector, by name: SEMANTICS, if there is any. (b, d_F)."""
        return {} if self.semantics is None else {SEMANTICS: self.semantics}


def stack(items: Sequence[Conditioning]) -> Conditioning:
    """Several images' conditions as one batch. All must have the same sources; spans are kept only if all agree.

    Raises:
        ConfigError: nothing to stack, a source that only some have, or shapes that differ.
    """

    def join(name: str) -> torch.Tensor | None:
        tensors = [getattr(item, name) for item in items]
        given = [t for t in tensors if t is not None]
        if not given:
            return None
        if len(given) < len(tensors) or len({t.shape[1:] for t in given}) > 1:
            raise ConfigError(f"The condition '{name}' is missing or of another shape in some of the images.")
        return torch.cat(given)

    if not items:
        raise ConfigError("There is no conditioning to stack.")
    spans = items[0].spans if all(item.spans == items[0].spans for item in items) else {}
    return Conditioning(join("text"), join("patches"), join("semantics"), spans)
