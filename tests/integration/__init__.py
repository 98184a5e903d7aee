"""Tests against real servers: Ceph, which they start themselves, or what the environment names; see CONTRIBUTING.md."""
