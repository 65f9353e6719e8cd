"""Triton kernels of a decode step, in which each sequence has one new token.

Reading weights and cache is most of what such a step does, and launching kernels most of the rest:
so each of these does all that can be done without waiting for the whole GPU. From Hopper on, a
kernel begins while the one before still runs (programmatic dependent launch, ``PDL``): its weights,
which nothing writes, are on their way when its input is ready.
"""
