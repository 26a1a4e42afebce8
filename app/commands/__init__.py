"""The commands, a module for each audience; each has `register`, which `app.cli` calls."""
