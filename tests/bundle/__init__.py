"""Tests of ckptstore.bundle."""
