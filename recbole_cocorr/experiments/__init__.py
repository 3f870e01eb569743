"""Every model under one protocol: many runs in one results folder, their tables, figures and costs."""
