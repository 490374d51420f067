"""nnU-Net as the trainer of a comparison: what each run is, where it lies, and what carries it out.

Reads as settings -> workplace (what nnU-Net has prepared) -> names (a loss as a trainer) -> unit (a
run) -> process (nnU-Net's command) and log (how far it is).
"""
