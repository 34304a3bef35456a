"""Fused GPU operators behind the modules, a plain reference beside each.

Reading order: :mod:`unit` says what is fused, :mod:`flow` runs figure 5 with it, :mod:`support`
decides when. Each operator has four files at most: ``depthwise`` (the operator and its gradient),
``depthwise_launch`` (grids and configurations), ``depthwise_triton`` (the kernel) and its lines in
:mod:`reference` (the same in plain PyTorch). Triton is imported only where a kernel is launched.
"""
