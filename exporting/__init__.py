"""Writes ``models/<name>/``; every file is compared with eager before it is published."""
