"""CoCorrRec."""
