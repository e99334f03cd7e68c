"""Doors: what listens. Nothing here dispatches by itself, and no door knows a hand."""
