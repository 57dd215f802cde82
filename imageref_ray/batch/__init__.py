"""Many records over a pool of engines, each exactly once, whatever crashes on the way."""
