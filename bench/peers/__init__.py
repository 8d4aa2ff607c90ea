"""The same mail through other relays, side by side: `python -m bench.peers`.

A module per peer (`postfix`, `haraka`, `zonemta`, `postroad`) says how it is installed and run; the
rest measures them alike. `docs/operations/performance.md` has the result.
"""
