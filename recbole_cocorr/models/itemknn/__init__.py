"""ItemKNN."""
