"""Tests of ckptstore.checkpoint."""
