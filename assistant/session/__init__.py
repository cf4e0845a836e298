"""Conversations: what comes in, where it is kept, who is answered next. No torch, no gradio."""
