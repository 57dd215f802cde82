"""One module a command, the command line over them, and the pages they write."""
