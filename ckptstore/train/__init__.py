"""What users drive, in tf.train's words. The names are those of `ckptstore` itself, which loads what is used."""
