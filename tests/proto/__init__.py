"""Tests of ckptstore/_proto: the wire schemas and the code generated from them."""
