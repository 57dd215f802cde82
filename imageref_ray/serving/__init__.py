"""The endpoint: HTTP routes over an engine, and the Ray Serve application around them."""

PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""How long Ray Serve waits for its own proxy: on a busy laptop it is slow, not dead. Set before Ray is imported."""
