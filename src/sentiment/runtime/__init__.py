"""Device and precision, several processes, saved training state, learning-rate schedules."""
