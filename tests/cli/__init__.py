"""Tests of ckptstore.cli."""
