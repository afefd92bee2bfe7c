"""The procedural video world that the models learn from."""
