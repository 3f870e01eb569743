"""Training runs: the plan, the processes that carry it out, and their records."""
