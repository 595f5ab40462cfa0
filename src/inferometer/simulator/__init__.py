"""A server to practise on, and the truth to test against.

Two modes speak the same APIs. The *engine* mode batches continuously in steps, as vLLM does, at the pace of a profile.
The *exact* mode plays a timeline known in advance, whatever the load. Either misbehaves on request: ``faults`` says
what can go wrong and decides when, ``misbehaviour`` plays it. ``listening``, ``server``, ``connection`` and
``misbehaviour`` touch the socket; the rest is pure. Every answer is nonsense, and the same nonsense for the same prompt
and seed.
"""
