"""Commands, grouped by audience; each module has a `register` function that adds them to the program."""
