"""The page's look: paper, ink and one quiet accent, by day and by night. System fonts only. Knows no components."""

from __future__ import annotations

import gradio as gr

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# name: (light, dark). style.css knows them as --paper, --sheet, ...
COLOURS = {
    "paper": ("#f4f3ef", "#191918"),
    "sheet": ("#ffffff", "#222221"),
    "sunk": ("#eae8e2", "#2d2d2b"),
    "line": ("#dcd9d1", "#3a3a37"),
    "ink": ("#22211e", "#eceae4"),
    "quiet": ("#67635a", "#a5a198"),
    "accent": ("#2c5f66", "#86c0c6"),
    "on-accent": ("#ffffff", "#10201f"),
    "fault": ("#9b3023", "#f0a195"),
}


def variables() -> str:
    """The colours as CSS custom properties."""
    light, dark = ("".join(f"--{name}:{pair[n]};" for name, pair in COLOURS.items()) for n in (0, 1))
    return f":root{{{light}}}.dark{{{dark}}}\n"


def theme() -> gr.themes.Base:
    """Gradio's own widgets in the same colours."""
    def both(name: str, colour: str) -> dict[str, str]:
        return {name: COLOURS[colour][0], f"{name}_dark": COLOURS[colour][1]}

    settings: dict[str, str] = {}
    for name, colour in (
            ("body_background_fill", "paper"), ("background_fill_primary", "sheet"),
            ("background_fill_secondary", "paper"), ("block_background_fill", "sheet"),
            ("block_label_background_fill", "sheet"), ("block_label_text_color", "quiet"),
            ("block_title_text_color", "ink"), ("block_info_text_color", "quiet"), ("body_text_color", "ink"),
            ("body_text_color_subdued", "quiet"), ("border_color_primary", "line"), ("block_border_color", "line"),
            ("border_color_accent", "accent"), ("color_accent_soft", "sunk"), ("slider_color", "accent"),
            ("input_background_fill", "paper"), ("input_background_fill_focus", "sheet"),
            ("input_border_color", "line"), ("input_border_color_focus", "accent"),
            ("input_placeholder_color", "quiet"),
            ("button_primary_background_fill", "accent"), ("button_primary_background_fill_hover", "accent"),
            ("button_primary_text_color", "on-accent"), ("button_secondary_background_fill", "sunk"),
            ("button_secondary_background_fill_hover", "line"), ("button_secondary_text_color", "ink"),
            ("link_text_color", "accent"), ("link_text_color_hover", "accent"), ("checkbox_background_color", "sheet"),
            ("checkbox_background_color_selected", "accent"), ("checkbox_border_color", "line"),
            ("code_background_fill", "sunk"), ("panel_background_fill", "paper"),
            ("error_background_fill", "sheet"), ("error_text_color", "fault")):
        settings.update(both(name, colour))
    base = gr.themes.Base(font=list(FONT), font_mono=list(MONO), radius_size="md", spacing_size="md", text_size="md")
    return base.set(block_shadow="none", block_shadow_dark="none", block_border_width="0px",
                    block_border_width_dark="0px", button_primary_shadow="none", button_secondary_shadow="none",
                    input_shadow="none", input_shadow_focus="none", **settings)
