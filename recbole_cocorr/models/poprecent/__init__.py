"""PopRecent."""
