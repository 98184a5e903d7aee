"""The tests of ckptstore; the folders mirror the package."""
