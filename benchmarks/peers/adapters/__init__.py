"""One file per row of the table. Each says:

``PEER``: its name there; ``DISTRIBUTION``: the package whose version is shown; ``METHODS``: for each task
that it does, whether that is exact, and how; ``RIDGE``: what it adds to the Hessian's diagonal because
it must. Where there are any, ``CANNOT``: for a task that it does not, why, in a phrase; ``ENVIRONMENT``:
whose it shares, if not its own; ``COLD``: tasks without a warm-up, which would cost as much as the task.
A task of neither ``METHODS`` nor ``CANNOT`` has no row.

For each task of ``METHODS`` there is a function (features, labels, weight, bias) -> (n,) of
self-influences g^T H^-1 g, where H is of the mean loss. A peer is imported within the functions: the
table is made where it is not installed.
"""
