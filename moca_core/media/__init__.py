"""Decoding of video and sound on one clock."""
