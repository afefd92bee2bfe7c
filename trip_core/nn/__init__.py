"""Network blocks; none knows which system it serves."""
