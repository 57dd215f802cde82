"""The endpoint: HTTP routes over an engine, and the Ray Serve application around them."""

PROXY_TIMEOUTS = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""Environment variables for Ray Serve, set before Ray is imported: seconds to wait for its proxy on a busy laptop."""
