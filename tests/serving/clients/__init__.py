"""Third-party clients against a server that runs; ``python -m tests.serving.clients``."""
