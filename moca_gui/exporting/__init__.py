"""Masks out of the window and into it: File > Export, File > Import masks."""
