"""Mamba4Rec."""
