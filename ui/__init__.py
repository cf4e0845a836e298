"""The page. The only package that knows gradio; it asks the session for everything else."""

import os

# Gradio reads this when it is first imported, which the modules of this package do: nothing is reported to anyone.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
