"""What was asked: the plan, and the doors through which it comes."""
