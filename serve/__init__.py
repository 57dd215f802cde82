"""Ways to start the endpoint of `imageref_ray.serving` from a checkout.

imageref serve --config serve/config.yaml               these settings, until Ctrl-C
serve run serve.app:build model=<checkpoint>            the embedded settings with another checkpoint, by Ray
serve deploy serve/config.yaml                          on a running Ray cluster
"""
