"""Widgets that paint: the frame with its masks, and rows on the time axis."""
