"""Pages of every format → title, text with `[Image k]`, pictures: what is content, what is the frame, where to cut."""
