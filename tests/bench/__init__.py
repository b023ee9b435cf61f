"""What things cost: ratios within one run, since these machines are noisy."""
