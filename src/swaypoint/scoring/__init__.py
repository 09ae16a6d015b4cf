"""Cook's distance: ranked and checked. Lazy, so that a review of what was scored needs no torch."""
