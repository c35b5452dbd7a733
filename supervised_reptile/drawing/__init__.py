"""A page to draw in, served on this machine alone (--draw)."""
