"""Features to the best head. Nothing here knows images or Keras."""
