"""Tests of ckptstore.format."""
