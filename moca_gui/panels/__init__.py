"""Parts of the main window, each owning one piece of behaviour."""
