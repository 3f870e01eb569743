"""The paper's tables and figures, each measured by a command."""
