"""Times of a session's clicks and rankings, each model in a process of its own."""
