"""How fast the assistant is on this machine, beside stock diffusers in the same run; weights that are loaded, or random ones of any size."""
