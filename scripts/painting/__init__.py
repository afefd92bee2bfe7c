"""A small landscape painter in numpy: what draw_stills.py composes its pictures from."""
