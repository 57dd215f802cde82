"""The endpoint: HTTP routes over an engine, and the Ray Serve application around them."""
