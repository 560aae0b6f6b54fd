"""What is done to a matte before it becomes layers: alpha is cleaned, then the colours under it."""

from bgm.outputs.edges.chain import Edges, edit_edges
from bgm.outputs.edges.masks import Masks

__all__ = ["Edges", "Masks", "edit_edges"]
