"""One module per command, the command line over them, and the HTML pages they write."""
