"""Values and rules: records, the reference grammar, settings, images. No I/O beyond a file, nothing heavy."""
