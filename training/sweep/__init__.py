"""Searches of hyperparameters with Optuna.

``run`` is a worker: ``space`` reads the file, ``study`` keeps trials in a storage, ``trial`` runs
one, ``report`` says what came out.
"""
