"""What is measured against what: one module for each way to judge posts."""
