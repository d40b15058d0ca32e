"""From a frame and its sound to masks of the sounding objects."""
