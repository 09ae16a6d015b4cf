"""The toy study of Picard et al. (2022): Figs. 1 and 4, counted."""
