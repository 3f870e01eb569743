"""The TTT-Linear layer (arXiv 2407.04620)."""
