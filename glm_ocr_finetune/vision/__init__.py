"""An image on its way to features: the tower, and the features that are kept."""
