"""TensorFlow's wire schemas as protobuf classes; scripts/gen_protos writes this folder from protos/."""
