"""Runs the benchmark programs on the host and in guests, and compares."""
