"""The engine of the customization assistant: CAFE, Infusion and ICO + DCI behind one pipeline. Imports no gradio."""

__version__ = "0.5.0"
