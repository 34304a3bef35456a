"""Fused GPU operators behind the modules, a plain reference beside each."""
