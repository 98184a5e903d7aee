"""Tests of ckptstore.storage."""
