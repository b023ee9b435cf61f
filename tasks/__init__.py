"""Culvert: the layers."""
