"""One loss, solver, score, reader, finding and exporter of another package: docs/extending.md shows them."""
