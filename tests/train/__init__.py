"""Tests of ckptstore.train."""
