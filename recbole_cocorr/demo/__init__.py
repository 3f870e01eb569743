"""``python -m recbole_cocorr demo``: the trained model in a browser, on loopback."""
