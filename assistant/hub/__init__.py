"""Weights from where they are published."""
