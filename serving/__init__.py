"""Answers over HTTP with what ``models/`` holds, and asks who does."""
