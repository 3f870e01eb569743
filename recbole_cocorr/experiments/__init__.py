"""Measurements: every model under one protocol in one results folder, and what corrections, devices and a cloud do."""
