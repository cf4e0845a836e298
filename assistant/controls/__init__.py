"""Controls: what plugs into the decoder's attention context."""
