"""The systems: one paper, one file, its whole forward visible. They never import each other."""
