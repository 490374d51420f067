"""Doors into the frameworks: `dilated_ce.integrations.monai`, `dilated_ce.integrations.nnunet`.

Each needs its framework, and nothing else here imports it.
"""
