"""Training sets out: written, checked, mixed, and in the paper's own formats."""
