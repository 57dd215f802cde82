"""`serve run serve.app:build [key=value …]`, in a checkout: the Ray Serve application of `imageref_ray.serving.app`."""

from imageref_ray.serving.app import build

__all__ = ["build"]
