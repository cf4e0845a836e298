"""The drawn world: what can be in a scene, how it is drawn, how it is spoken of, and the recipe trained on it."""
