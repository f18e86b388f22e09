"""Brings a job's code and the packages it needs to where its worker will look for them."""
