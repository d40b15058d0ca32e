"""The window that compares two frames place by place."""
