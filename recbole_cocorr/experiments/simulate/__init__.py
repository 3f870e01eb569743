"""Devices and a service under faults, on one machine."""
