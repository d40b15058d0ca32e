"""Projects in the window: opening, saving by itself, and the list of clips."""
