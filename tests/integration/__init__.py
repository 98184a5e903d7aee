"""Tests against servers that the environment names; see CONTRIBUTING.md."""
