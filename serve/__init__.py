"""The Ray Serve application: `serve run serve.app:build model=<checkpoint>` or `imageref serve`."""
