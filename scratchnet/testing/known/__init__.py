"""Layers recognised by what their forward computes, and what their known slips give."""
