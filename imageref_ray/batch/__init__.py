"""Many records over a pool of engines, each exactly once, whatever dies on the way."""
