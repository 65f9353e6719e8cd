"""Serves what was trained, in Ollama's and OpenAI's forms; reads ``models/`` and nothing else."""
