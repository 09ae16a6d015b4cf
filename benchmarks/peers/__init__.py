"""swaypoint beside its peers: the same arrays, one run, every peer in an environment of its own.

``python -m benchmarks.peers`` writes the workloads and their float64 truth (:mod:`.workloads`), makes the
environments (:mod:`.environments`), starts one process per peer, workload and round (:mod:`.measuring`,
:mod:`.worker`) and prints the table (:mod:`.table`). How a peer is asked is in its file in ``adapters``.
"""
