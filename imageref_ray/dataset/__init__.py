"""Training sets: exporting, checking and mixing them, and the file formats of the paper."""
