"""Criteria: what a channel is worth. Each takes a channel group and returns one score a channel."""

from sapwood.criteria.norm import norm_scores

__all__ = ["norm_scores"]
