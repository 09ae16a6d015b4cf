"""The commands, a file a family; ``main`` gathers them."""
