"""One run: a loss, a network, patches to fit it on, and what it predicts then."""
