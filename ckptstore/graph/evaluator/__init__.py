"""Runs graphs on numpy, without TensorFlow."""

from ckptstore.graph.evaluator.evaluator import Evaluator, supported_ops

__all__ = ["Evaluator", "supported_ops"]
