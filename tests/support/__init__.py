"""What several test modules need: servers that run inside the test process."""
