"""Where the time of a training step goes: recorded by torch's profiler, divided, and named.

``trace`` reads a recording, ``division`` divides the time of a step into five parts, ``advice``
says it in a sentence, ``report`` in a table; all four are pure. ``session`` records a fit.
"""
