"""Scores that people already have: tables, nnU-Net's folders, predictions beside the truth."""
