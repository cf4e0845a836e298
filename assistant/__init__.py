"""The engine of the customization assistant: CAFE, Infusion and ICO + DCI behind one engine. Imports no gradio."""

__version__ = "0.6.0"
