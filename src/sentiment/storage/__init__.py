"""Atomic outputs, tensor files and untrusted archives."""
