"""Engines: what computes the encoders' features, and how one is chosen.

`models.engines.base` has the interface; `torch_engine` and `openvino_engine` are the two there are;
`files` keeps converted models; `choose` opens the one that a caller wants. Only the last knows all.
"""
