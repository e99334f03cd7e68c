"""What dials: clients of other machines, each bounded in time and in bytes."""
