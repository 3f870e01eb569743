"""What a model costs: parameters, FLOPs, memory, time, and what a new click asks for."""
