"""What predictions mean and how they are judged."""
