"""Image classifiers: from any picture to a digit."""
