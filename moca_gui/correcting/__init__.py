"""What a person makes of the frames: tools on the frame, objects, following, undo."""
