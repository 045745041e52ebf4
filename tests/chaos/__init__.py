"""The kill test: the service is killed at every point that matters, and is started again.

`points.py` names the points, `victim.py` is the process that is killed, `rounds.py` plans and judges rounds,
`python -m chaos` (``make chaos``) runs many and prints which point was hit how often.
"""
