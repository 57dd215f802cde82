"""`pytest -p tests.haproxy`: Ray Serve with HAProxy before its replicas; read when Ray is imported."""

import os

from imageref_ray.serving import environment

os.environ.update(environment.variables(haproxy=True))
