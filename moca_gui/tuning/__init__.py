"""Training an adapter from the window: settings, the data check, the run and what comes out."""
