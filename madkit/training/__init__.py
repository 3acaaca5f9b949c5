"""What every training of madkit shares: optimizer, schedule, history, export."""
