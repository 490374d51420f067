"""The runs of a study: what each is, where it lies, and what carries it out."""
