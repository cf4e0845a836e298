"""How much memory there is, what fits into it, and what to do where it runs out."""
