"""What a job reads: finding its inputs, cutting them into tasks, and reading records from them."""
