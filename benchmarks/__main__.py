"""``make bench``: every benchmark in turn."""

from benchmarks import contraction, in_memory, large_head, streamed

for benchmark in (in_memory, contraction, streamed, large_head):
    print(f"\n{benchmark.__doc__.strip()}")
    benchmark.main()
