"""The REST API: one module for each noun, each with the shapes that go in and out."""
