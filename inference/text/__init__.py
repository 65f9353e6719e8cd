"""Language models: loading, decoding and sampling."""
