"""From settings to data, model and trainer: the one way for every command."""
