"""Engines against what users run today, side by side in one run: ``radar-fast bench``.

``race`` reads aloud and names the rest. Every contender, an engine of ours or a peer, lives in a process of its own
(``worker``), commanded over a pipe (``process``), so that peaks of memory are its own and rounds can be taken in turn.
"""

__all__: list[str] = []
