"""jaxcv against PyTorch: the same work, in turns, on the machine at hand.

Each side of a case is a process of its own, and one computes at a time. A process prepares the work
that it is started for, then says so in a line of JSON, and answers each line that it reads:

- it says ``{"ready": {...}}`` with what it found while preparing,
- of ``{"run": steps}`` it takes so many steps and says ``{"seconds": seconds}``,
- of ``{"stop": true}`` it says ``{"peak_bytes": bytes}`` and ends,
- and where something goes wrong it says ``{"error": text}`` and ends.
"""
