"""Names of what the decoder is conditioned on, as rows of its batch refer to them."""

TEXT = "text"  # text encoder's states of the prompt, (b, N, d_text)
EMPTY = "empty"  # text encoder's states of the empty (or negative) prompt
AUXILIARY_TEXT = "auxiliary text"  # the same of DCI's auxiliary prompt
PATCHES = "patches"  # E(x), (b, 257, d_E)
SEMANTICS = "semantics"  # F(w) or H(s), (b, d_F)
