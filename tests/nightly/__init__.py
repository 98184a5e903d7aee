"""Tests that take long: `scripts/test --nightly`."""
