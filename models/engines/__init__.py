"""Engines: what computes the encoders' features, and how one is chosen.

`models.engines.base` has the interface; `torch_engine` and `openvino_engine` are the two there are.
`graphs` builds what OpenVINO computes from weights, `conversion` from torch's networks; `loading`
takes the one that can, and `files` keeps what was converted. `choose` opens the engine that a
caller wants. Only `torch_engine` and `conversion` need torch.
"""
