"""What Sapwood gets from here: a criterion and an operator."""
